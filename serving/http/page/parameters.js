// The fields of a request's `parameters`, and `truncation`. What is empty is left out, and the default holds.

import { element } from "./elements.js";

const MAIN = [
  ["num_beams", "Beams", "beams kept at each step; 1 is greedy search"],
  ["max_new_tokens", "Most tokens", "most tokens generated"],
  ["length_penalty", "Length penalty", "above 0 prefers longer outputs, below 0 shorter ones"],
];
const MORE = [
  ["min_new_tokens", "Fewest tokens", "fewest tokens generated before the output may end"],
  ["no_repeat_ngram_size", "No-repeat n-gram", "no sequence of this many tokens occurs twice; 0 is off"],
  ["encoder_no_repeat_ngram_size", "No source n-gram", "no sequence of this many tokens of the source occurs; 0 is off"],
  ["repetition_penalty", "Repetition penalty", "above 1 makes tokens that the output already has less likely"],
  ["early_stopping", "Early stopping", "of beams: end as soon as there are as many finished outputs; never: when no better one can come"],
  ["do_sample", "Sampling", "draw tokens instead of taking the likeliest; without beams"],
  ["temperature", "Temperature", "of draws: below 1 likelier tokens are preferred"],
  ["top_k", "Top k", "draw among this many likeliest tokens; 0 is off"],
  ["top_p", "Top p", "draw among the likeliest tokens of this probability together; 1 is off"],
  ["seed", "Seed", "of draws: the same seed draws the same"],
  ["num_return_sequences", "Outputs", "how many: the best of the beams, or as many draws"],
];
const ON_OFF = new Map([["on", true], ["off", false]]);
const SWITCHES = new Map([["early_stopping", new Map([...ON_OFF, ["never", "never"]])], ["do_sample", ON_OFF]]);
const TRUNCATIONS = [["", "default"], ["error", "refuse it"], ["end", "cut its end"], ["chunk", "split it"]];

export class Parameters {
  constructor(main, more) {
    this.fields = new Map([...MAIN, ...MORE].map(([name, , help]) => [name, field(name, help)]));
    this.truncation = element("select", { name: "truncation", title: "truncation: how a text is read, and what becomes of more tokens than the model reads" });
    this.truncation.append(...TRUNCATIONS.map(([value, text]) => new Option(text, value)));
    const labelled = ([name, text]) => element("label", {}, text, this.fields.get(name));
    main.append(...MAIN.map(labelled), element("label", {}, "If too long", this.truncation));
    more.append(...MORE.map(labelled));
  }

  /** Show a model's own values where nothing is entered. */
  showDefaults(defaults) {
    for (const [name, input] of this.fields) {
      const value = defaults[name];
      const switched = [...SWITCHES.get(name) ?? []].find(([, meaning]) => meaning === value);
      if (SWITCHES.has(name)) input.options[0].text = switched ? `default (${switched[0]})` : "default";
      else input.placeholder = value ?? (name === "seed" ? "random" : "");
    }
  }

  /** What was entered. What is no number is sent as it is: the server says what it accepts. */
  entered() {
    const parameters = {};
    for (const [name, input] of this.fields) {
      const value = input.value.trim();
      if (value === "") continue;
      if (SWITCHES.has(name)) parameters[name] = SWITCHES.get(name).get(value);
      else parameters[name] = Number.isNaN(Number(value)) ? value : Number(value);
    }
    return { parameters, truncation: this.truncation.value || undefined };
  }
}

function field(name, help) {
  const title = `${name}: ${help}`;
  if (!SWITCHES.has(name)) return element("input", { name, title, type: "text", inputMode: "decimal", autocomplete: "off" });
  const select = element("select", { name, title });
  select.append(new Option("default", ""), ...[...SWITCHES.get(name).keys()].map((text) => new Option(text)));
  return select;
}
