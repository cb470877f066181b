/** What all panels say, in the interface's language. */

/** @typedef {(key: string, values?: object) => string} Words */

const ENGLISH = {
  errorJson: "The {list} are not JSON text ({reason}); write them like {example}.",
  errorList: "The {list} are a JSON {kind}, not a list; write them like {example}.",
  errorCount: "There are {count} {list}, and {most} is the most; leave some out.",
  kindNull: "null",
  kindList: "list",
  kindObject: "object",
  kindText: "text",
  kindBoolean: "true/false",
  kindNumber: "number",
};

const CHINESE = {
  errorJson: "{list}不是 JSON 文本（{reason}）；请写成 {example}。",
  errorList: "{list}是 JSON {kind}，而不是列表；请写成 {example}。",
  errorCount: "共有 {count} 个{list}，最多 {most} 个；请去掉一些。",
  kindNull: "空值",
  kindList: "列表",
  kindObject: "对象",
  kindText: "文本",
  kindBoolean: "布尔值",
  kindNumber: "数字",
};

/** @returns {Record<"en" | "zh", Record<string, string>>} the words of one panel, with those of all */
export function languages(english, chinese) {
  return { en: { ...ENGLISH, ...english }, zh: { ...CHINESE, ...chinese } };
}

/** @param {ReturnType<typeof languages>} words @param {string} language such as "en" or "zh" @returns {Words} */
export function wordsIn({ en, zh }, language) {
  const words = String(language).toLowerCase().startsWith("zh") ? zh : en;
  return (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}
