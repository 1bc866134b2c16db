// Asks the server and reads its answer as it comes. EventSource cannot POST, so server-sent events are taken apart here.

export class Refused extends Error {
  /** `status` is HTTP's, or null for an error that came in the middle of an answer. */
  constructor(status, detail, retryAfter = null) {
    super(detail.message);
    Object.assign(this, { status, code: detail.code, field: detail.field ?? null, retryAfter });
  }
}

/** JSON from the server. Throws Refused, and TypeError where nothing answers. */
export async function get(path, key) {
  const response = await fetch(path, { headers: authorization(key) });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/**
 * The events of a streamed request, as { name, data }, up to "done". Several outputs for an input cannot be streamed: then
 * its result is the only event. Throws Refused, TypeError and AbortError.
 */
export async function* ask(path, body, key, signal) {
  const stream = !(body.parameters.num_return_sequences > 1);
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization(key) },
    body: JSON.stringify({ ...body, stream }),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  if (!stream) {
    yield { name: "result", data: { input: 0, result: (await response.json()).results[0] } };
    return;
  }
  for await (const event of events(response.body)) {
    if (event.name === "error") throw new Refused(null, event.data.error);
    yield event;
    if (event.name === "done") return;
  }
  throw new Refused(null, { code: "broken_off", message: "the answer broke off before its end" });
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = block.split(/\r?\n/).map((line) => line.match(/^(\w+): ?(.*)$/)).filter(Boolean);
      const values = (name) => fields.filter((field) => field[1] === name).map((field) => field[2]);
      if (values("data").length) yield { name: values("event").at(-1) ?? "message", data: JSON.parse(values("data").join("\n")) };
    }
  }
}

const authorization = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

async function refusal(response) {
  let detail;
  try {
    detail = (await response.json()).error;
  } catch {
    detail = null;  // not ours: a proxy in between answers in its own words
  }
  detail ??= { code: "unknown", message: `the server answered ${response.status} ${response.statusText}` };
  return new Refused(response.status, detail, response.headers.get("Retry-After"));
}
