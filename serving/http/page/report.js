// What an answer took and what became of its input.

import { byId, count, element, figures, seconds } from "./elements.js";

/** `result` as the server sent it; `firstText` and `total` in seconds, as measured here, the network included. */
export function showReport(result, firstText, total) {
  const { queue, encode, decode } = result.timings;
  byId("timeline").replaceChildren(...segments({ queue, encode, decode }, total));
  figures(byId("figures"), [
    ["Total", seconds(total)],
    ["First text", firstText == null ? null : seconds(firstText)],
    ["Queue", seconds(queue), "queue"],
    ["Encode", seconds(encode), "encode"],
    ["Decode", seconds(decode), "decode"],
    ["Tokens read", count(result.source_tokens)],
    ["Tokens written", count(result.generated_tokens)],
    ["Tokens/s", decode > 0 ? count(Math.round(result.generated_tokens / decode)) : null],
  ]);
  byId("notes").textContent = notes(result).join(" ");
  byId("notes").hidden = byId("notes").textContent === "";
  byId("report").hidden = false;
}

/** Shares of the whole time; what is left is the way there and back. */
function segments(times, total) {
  return Object.entries(times).map(([className, value]) => {
    const segment = element("i", { className });
    segment.style.flexGrow = value / total;
    return segment;
  });
}

function notes({ truncation, finish_reason: reason, seed, unknown_tokens: unknown }) {
  const read = `${count(truncation.source_tokens_used)} of ${count(truncation.source_tokens_total)} tokens`;
  const found = truncation.answer_window ? `, and answered from window ${truncation.answer_window}` : "";
  return [
    truncation.applied === "end" && `The input was cut: ${read} were read.`,
    truncation.applied === "chunk" && `The input was read in ${truncation.windows} window${truncation.windows > 1 ? "s" : ""}${found}.`,
    unknown > 0 && `${count(unknown)} of the tokens read stand for what the model does not know.`,
    reason === "length" && "The output was stopped at the most tokens, and may have no end.",
    seed != null && `Drawn with seed ${seed}: the same seed draws the same.`,
  ].filter(Boolean);
}
