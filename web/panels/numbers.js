/** A number with at most so many decimals. */
export function rounded(value, decimals) {
  return Number(value.toFixed(decimals)) + 0;
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
