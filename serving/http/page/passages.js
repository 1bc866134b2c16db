// The passages that an answer is based on, the most relevant first: one field each.

import { element } from "./elements.js";

export class Passages {
  constructor(list) {
    this.list = list;
    this.add("");
  }

  get fields() {
    return [...this.list.querySelectorAll("textarea")];
  }

  get first() {
    return this.fields[0];
  }

  /** Show these passages in place of the ones that are shown. */
  fill(texts) {
    this.list.replaceChildren();
    texts.forEach((text) => this.add(text));
  }

  /** Append a field, and return it. */
  add(text) {
    const field = element("textarea", { value: text, rows: 4 });
    const remove = element("button", { type: "button", className: "quiet", textContent: "Remove" });
    const label = element("label");
    const item = element("li", {}, element("div", { className: "row" }, label, remove), field);
    remove.addEventListener("click", () => {
      item.remove();
      this.number();
      this.first.focus();
    });
    this.list.append(item);
    this.number();
    return field;
  }

  /** What a request's `context` is. */
  context() {
    const texts = this.fields.map((field) => field.value);
    return texts.length === 1 ? texts[0] : texts;
  }

  number() {
    this.fields.forEach((field, index, all) => {
      const [label, remove] = field.previousElementSibling.children;
      field.id = `passage-${index + 1}`;
      label.htmlFor = field.id;
      label.textContent = all.length === 1 ? "Passage to answer from" : `Passage ${index + 1}${index === 0 ? ", the most relevant" : ""}`;
      remove.hidden = all.length === 1;
      remove.setAttribute("aria-label", `Remove passage ${index + 1}`);
    });
  }
}
