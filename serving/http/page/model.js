// What there is to know of a model: its size beside its teacher's, and how both were scored.

import { byId, count, element, figures, languageName, megabytes, times } from "./elements.js";

export function showModel(model) {
  byId("about-title").textContent = model.name;
  figures(byId("facts"), [
    ["Weights", megabytes(model.size_bytes)],
    ["Smaller by", times(model.compression_ratio)],
    ["Bits (W-E-A)", model.scheme],
    ["Layers", model.layers],
    ["Longest input", `${count(model.max_source_tokens)} tok.`],
  ]);
  byId("sizes").replaceChildren(
    ...bar(`teacher ${model.teacher}, ${model.teacher_layers} layers, float32`, model.teacher_bytes, 1, "bar"),
    ...bar(`student, ${model.layers} layers, ${model.scheme}`, model.size_bytes, model.size_bytes / model.teacher_bytes, "bar own"),
  );
  byId("scores").replaceChildren(...(model.evaluations.length ? [scores(model.evaluations)] : [noScores()]));
  byId("about").hidden = false;
}

function bar(text, bytes, share, className) {
  const drawn = element("div", { className });
  drawn.style.width = `${100 * share}%`;
  return [element("p", {}, element("span", { textContent: text }), element("span", { textContent: megabytes(bytes) })), drawn];
}

const noScores = () => element("p", { className: "muted", textContent: "This model came without scores: dqbart evaluate adds them." });

function scores(evaluations) {
  const metrics = [...new Set(evaluations.flatMap((each) => each.scores.map((score) => score.metric)))];
  const heading = (text) => element("th", { scope: "col", textContent: text });
  const table = element("table", {}, element("caption", { className: "hidden", textContent: "Scores of student and teacher" }));
  table.append(element("thead", {}, element("tr", {}, heading("Scores"), ...metrics.map(heading))));
  for (const evaluation of evaluations) {
    const row = (who, className) => {
      const values = metrics.map((metric) => evaluation.scores.find((score) => score.metric === metric)?.[who]);
      const cells = values.map((value) => element("td", { textContent: value?.toFixed(1) ?? "–" }));
      return element("tr", { className }, element("th", { scope: "row", textContent: who }), ...cells);
    };
    const title = element("th", { scope: "rowgroup", colSpan: metrics.length + 1, textContent: about(evaluation) });
    table.append(element("tbody", {}, element("tr", { className: "figure-of" }, title), row("student", "own"), row("teacher", "")));
  }
  return table;
}

function about(evaluation) {
  const { source_language: source, target_language: target, decoding } = evaluation;
  const direction = source && target && `${languageName(source)} → ${languageName(target)}`;
  const beams = decoding.num_beams && (decoding.num_beams === 1 ? "greedy" : `${decoding.num_beams} beams`);
  return [direction, evaluation.data, `${count(evaluation.examples)} examples`, beams].filter(Boolean).join(", ");
}
