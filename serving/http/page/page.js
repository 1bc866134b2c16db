// The page at /: a form, what is asked with it, and the answer as it comes.

import { byId, element, languageName, megabytes, seconds, times } from "./elements.js";
import { EXAMPLES } from "./examples.js";
import { showModel } from "./model.js";
import { Parameters } from "./parameters.js";
import { Passages } from "./passages.js";
import { showReport } from "./report.js";
import { ask, get, Refused } from "./stream.js";

const TASKS = {
  translation: { path: "v1/translate", name: "Translate", output: "Translation", text: "Text" },
  summarization: { path: "v1/summarize", name: "Summarize", output: "Summary", text: "Text" },
  "question-answering": { path: "v1/answer", name: "Answer", output: "Answer", text: "" },
};

const form = byId("ask");
const output = byId("output");
const parameters = new Parameters(byId("main-parameters"), byId("more-parameters"));
const passages = new Passages(byId("passages"));
const drafts = {};  // task → its text, while another task is shown
let models = [];
let task = null;
let running = null;  // AbortController of the request in flight

const key = () => byId("key").value.trim();
const chosenModel = () => models.find((model) => model.name === byId("model").value);

async function start() {
  try {
    ({ models } = await get("v1/models", key()));
  } catch (error) {
    byId("loading").textContent = worded(error);
    byId("loading").className = "error";
    askForKey(error);
    return;
  }
  byId("loading").hidden = true;
  form.hidden = false;
  const served = Object.keys(TASKS).filter((name) => models.some((model) => model.task === name));
  byId("tasks").replaceChildren(...served.map(taskChoice));
  chooseTask(served[0]);
}

function taskChoice(name, index) {
  const choice = element("input", { type: "radio", name: "task", value: name, checked: index === 0 });
  choice.addEventListener("change", () => chooseTask(name));
  return element("label", {}, choice, element("b", { textContent: TASKS[name].name }));
}

function chooseTask(name) {
  stop();
  if (task) drafts[task] = byId("text").value;
  task = name;
  const answering = task === "question-answering";
  byId("text").value = drafts[task] ?? "";
  byId("text-label").textContent = TASKS[task].text;
  byId("send").textContent = TASKS[task].name;
  byId("output-title").textContent = TASKS[task].output;
  for (const id of ["question-box", "passages", "add-passage"]) byId(id).hidden = !answering;
  byId("texts").hidden = answering;
  const able = models.filter((model) => model.task === task);
  const options = able.map((model) => {
    const text = `${model.name} (${megabytes(model.size_bytes)}, ${times(model.compression_ratio)} smaller)`;
    return new Option(text, model.name, model.is_default, model.is_default);
  });
  byId("model").replaceChildren(...options);
  chooseModel();
  clear();
}

function chooseModel() {
  const model = chosenModel();
  const [source, target] = model.languages;
  byId("languages").hidden = model.languages.length === 0;
  for (const [id, chosen] of [["source-language", source], ["target-language", target]]) {
    byId(id).replaceChildren(...model.languages.map((code) => languageOption(code, model.languages, code === chosen)));
  }
  parameters.showDefaults(model.defaults);
  showModel(model);
  showExamples(model);
}

function languageOption(code, codes, chosen) {
  const name = languageName(code);
  const unique = codes.filter((other) => languageName(other) === name).length === 1;
  return new Option(unique ? name : `${name} (${code})`, code, chosen, chosen);
}

function showExamples(model) {
  const code = (language) => model.languages.find((each) => each === language || each.startsWith(`${language}_`));
  const offered = EXAMPLES[task].filter((example) => task !== "translation" || (code(example.from) && code(example.to)));
  const buttons = offered.map((example) => {
    const button = element("button", { type: "button", className: "quiet", textContent: example.name });
    button.addEventListener("click", () => {
      byId("text").value = example.text ?? "";
      byId("question").value = example.question ?? "";
      passages.fill(example.passages ?? [""]);
      parameters.truncation.value = example.truncation ?? "";
      if (task === "translation") {
        byId("source-language").value = code(example.from);
        byId("target-language").value = code(example.to);
      }
      form.requestSubmit();
    });
    return button;
  });
  byId("examples").hidden = buttons.length === 0;
  byId("examples").replaceChildren(element("span", { className: "muted", textContent: "Try" }), ...buttons);
}

function body() {
  const shared = { model: byId("model").value, ...parameters.entered() };
  if (task === "question-answering") return { question: byId("question").value, context: passages.context(), ...shared };
  if (byId("languages").hidden) return { text: byId("text").value, ...shared };
  const languages = { source_language: byId("source-language").value, target_language: byId("target-language").value };
  return { text: byId("text").value, ...languages, ...shared };
}

/** Drop the request in flight, and say nothing of it. */
function stop() {
  running?.abort();
  running = null;
  setRunning(false);
}

async function send() {
  stop();
  const request = (running = new AbortController());
  clear();
  setRunning(true);
  output.lang = byId("languages").hidden ? "" : byId("target-language").value.replace("_", "-");
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  let firstText = null;
  try {
    for await (const { name, data } of ask(TASKS[task].path, body(), key(), request.signal)) {
      request.signal.throwIfAborted();  // what was read already is of no use to anyone
      if (name === "text" && data.text) {
        firstText ??= elapsed();
        output.append(data.text);
      } else if (name === "result") {
        showResult(data.result);
        showReport(data.result, firstText, elapsed());
      }
    }
  } catch (error) {
    if (request === running) showFault(error, elapsed());
  } finally {
    if (request === running) {
      running = null;
      setRunning(false);
    }
  }
}

function showResult(result) {
  if (output.textContent !== result.text) output.textContent = result.text;
  byId("copy").disabled = result.text === "";
  const sequences = result.sequences ?? [];
  byId("alternatives").replaceChildren(...sequences.map((each) => element("li", {}, element("span", { textContent: each.text }))));
  byId("alternatives").hidden = sequences.length === 0;
}

function showFault(error, after) {
  output.classList.add("stopped");
  if (error.name === "AbortError") {
    byId("state").textContent = `Cancelled after ${seconds(after)}.`;
    return;
  }
  const line = element("small", { textContent: [error.status, error.code, error.field].filter(Boolean).join(" · ") });
  byId("error").replaceChildren(worded(error), ...(line.textContent ? [line] : []));
  byId("error").hidden = false;
  const name = error.field?.replace(/^parameters\./, "").split(".")[0];
  const field = name === "context" ? passages.first : form.elements[name];
  field?.setAttribute("aria-invalid", "true");
  field?.setAttribute("aria-describedby", "error");
  askForKey(error);
}

function worded(error) {
  if (!(error instanceof Refused)) return `The server does not answer (${error.message}).`;
  return error.retryAfter ? `${error.message}; try again in ${error.retryAfter} s` : error.message;
}

function askForKey(error) {
  if (error.status !== 401) return;
  byId("key-box").open = true;
  byId("key").focus();
}

function clear() {
  output.replaceChildren();
  output.classList.remove("stopped");
  output.dataset.empty = "What the model writes appears here.";
  byId("state").textContent = "";
  byId("copy").disabled = true;
  for (const id of ["error", "report", "alternatives"]) byId(id).hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

function setRunning(busy) {
  output.setAttribute("aria-busy", busy);
  if (busy) output.dataset.empty = "";
  if (!busy && document.activeElement === byId("cancel")) byId("send").focus();
  byId("cancel").hidden = !busy;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
  else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !form.hidden) {
    event.preventDefault();
    form.requestSubmit();
  }
});
byId("cancel").addEventListener("click", () => running?.abort());
byId("model").addEventListener("change", chooseModel);
byId("add-passage").addEventListener("click", () => passages.add("").focus());
byId("copy").hidden = !navigator.clipboard;  // browsers have it for https and localhost only
byId("copy").addEventListener("click", () => navigator.clipboard.writeText(output.textContent));
byId("swap").addEventListener("click", () => {
  const [source, target] = [byId("source-language"), byId("target-language")];
  [source.value, target.value] = [target.value, source.value];
  if (output.textContent && !running) byId("text").value = output.textContent;
  clear();
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("key-box").open = false;
  if (models.length === 0) start();
});
start();
