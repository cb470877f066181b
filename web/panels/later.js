/**
 * Act some time from now, and then after the input that a busy page has not come to yet.
 * @param {() => void} action @param {number} milliseconds @returns {() => void} calls it off
 */
export function later(action, milliseconds) {
  let frame = 0;
  const timer = setTimeout(() => {
    frame = requestAnimationFrame(action);
  }, milliseconds);
  return () => {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };
}
