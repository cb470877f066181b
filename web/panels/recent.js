/** A map that keeps what was used last. */
export class Recent extends Map {
  /** @param {number} most entries */
  constructor(most) {
    super();
    this.most = most;
  }

  set(key, value) {
    this.delete(key);
    super.set(key, value);
    if (this.size > this.most) this.delete(this.keys().next().value);
    return this;
  }
}
