/** The lists of json_lists.py once more, in the browser: what people and programs write as JSON text into a field. */

const BLANK = /^[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$/; // Python's str.strip()

/** A text that is not what it should be; `says` gives one sentence. */
export class TextError extends Error {
  /** @param {string} key of the sentence among the words @param {object} values in it; kind and list are keys as well */
  constructor(key, { kind, list, ...values }) {
    super(key);
    /** @param {import("./words.js").Words} words */
    this.says = (words) => words(key, { ...values, kind: kind && words(kind), list: list && words(list) });
  }
}

/**
 * @param {string} text
 * @param {string} list key of the word that an error begins with @param {string} example @param {number} most entries
 * @returns {unknown[]} none for blank text; throws TextError for anything but a list
 */
export function readList(text, list, example, most) {
  if (BLANK.test(text)) return [];
  let entries;
  try {
    entries = JSON.parse(text);
  } catch (error) {
    throw new TextError("errorJson", { list, reason: error.message, example });
  }
  if (!Array.isArray(entries)) throw new TextError("errorList", { list, kind: kind(entries), example });
  checkCount(entries, list, most);
  return entries;
}

export function checkCount(entries, list, most) {
  if (entries.length > most) throw new TextError("errorCount", { list, count: entries.length, most });
}

/** What JSON calls a value, as a key among the words. */
export function kind(value) {
  if (value === null) return "kindNull";
  if (Array.isArray(value)) return "kindList";
  return { object: "kindObject", string: "kindText", boolean: "kindBoolean" }[typeof value] ?? "kindNumber";
}
