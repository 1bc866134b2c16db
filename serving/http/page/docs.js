// The documentation at /docs: openapi.json as text. What a request may hold, examples to copy, what is answered.

import { byId, element } from "./elements.js";

let schemas = {};

async function start() {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const { info, paths, components } = await response.json();
  schemas = components?.schemas ?? {};
  byId("summary").textContent = info.summary ?? info.title;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) show(path, method.toUpperCase(), operation);
  }
}

function show(path, method, operation) {
  const article = element("article", { id: `${method}${path.replaceAll("/", "-")}` });
  article.append(element("h2", {}, element("span", { textContent: method }), ` ${path}`));
  article.append(element("p", { textContent: operation.description ?? operation.summary ?? "" }));
  const sent = operation.requestBody?.content?.["application/json"];
  const given = (operation.parameters ?? []).map(({ name, schema, description, required }) => field(name, schema, description, required));
  if (given.length) article.append(element("h3", { textContent: "Parameters" }), element("ul", { className: "fields" }, ...given));
  if (sent) {
    article.append(element("h3", { textContent: "Body, in JSON" }), fields(sent.schema));
    article.append(element("h3", { textContent: "Examples" }), ...examples(sent).map((body) => curl(path, body)));
  } else if (method === "GET") {
    article.append(curl(path));
  }
  article.append(element("h3", { textContent: "Answers" }), element("ul", { className: "fields" }, ...answers(operation.responses)));
  byId("operations").append(article);
  byId("contents").append(element("a", { href: `#${article.id}`, textContent: path, title: method }));
}

const resolved = (schema) => (schema?.$ref ? schemas[schema.$ref.split("/").at(-1)] : schema) ?? {};

/** The alternatives of a schema, without null, which every field that may be left out has. */
const alternatives = (schema) => (schema.anyOf ?? schema.oneOf ?? [schema]).filter((each) => each.type !== "null");

function examples({ schema, example, examples: named }) {
  if (example) return [example];
  const { properties = {}, examples: bodies = [] } = resolved(schema);
  // The document has the keys of an example sorted; they are shown as they are described.
  const ordered = (body) => ({ ...Object.fromEntries(Object.keys(properties).filter((name) => name in body).map((name) => [name, body[name]])), ...body });
  return named ? Object.values(named).map(({ value }) => value) : bodies.map(ordered);
}

function curl(path, body) {
  const url = decodeURI(new URL(path.slice(1), document.baseURI).href);
  const spaced = JSON.stringify(body, null, 1)?.replaceAll(/\n\s*/g, " ");  // texts have no line ends of their own, but \n
  const json = spaced && ` --json '${spaced.replaceAll("'", String.raw`'\''`)}'`;
  return element("pre", {}, element("code", { textContent: `curl ${url}${json ?? ""}` }));
}

function fields(schema) {
  const { properties = {}, required = [] } = resolved(schema);
  const names = [...required, ...Object.keys(properties).filter((name) => !required.includes(name))];
  const items = names.map((name) => field(name, properties[name], properties[name].description, required.includes(name)));
  return element("ul", { className: "fields" }, ...items);
}

function field(name, schema, description, required) {
  const item = element("li", {}, element("code", { textContent: name }));
  const bounds = [typeOf(schema), limits(schema), required ? "required" : byDefault(schema)].filter(Boolean);
  item.append(element("span", { className: "type", textContent: bounds.join(", ") }));
  const inner = alternatives(schema).map((each) => (each.type === "array" ? each.items : each)).find((each) => resolved(each).properties);
  const said = description ?? (inner && resolved(inner).description);
  if (said) item.append(element("div", { textContent: said }));
  if (inner) item.append(folded(`fields of ${name}`, inner));
  return item;
}

function folded(title, schema) {
  const details = element("details", {}, element("summary", { className: "muted small", textContent: title }));
  // Made when it is opened: messages may hold messages of their own kind.
  details.addEventListener("toggle", () => details.children.length > 1 || details.append(fields(schema)));
  return details;
}

function typeOf(schema) {
  const one = (each) => {
    if (each.anyOf ?? each.oneOf) return typeOf(each);
    if (each.const !== undefined) return JSON.stringify(each.const);
    if (each.enum) return each.enum.map((value) => JSON.stringify(value)).join(" or ");
    if (each.type === "array") return `list of (${typeOf(each.items ?? {})})`.replace(/\((\w+)\)/, "$1");
    if (each.$ref) return resolved(each).enum ? one(resolved(each)) : "object";
    return { string: "text", integer: "whole number", number: "number", boolean: "true or false" }[each.type] ?? "anything";
  };
  return [...new Set(alternatives(schema).map(one))].join(" or ");
}

function limits(schema) {
  const words = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<" };
  return alternatives(schema)
    .flatMap((each) => Object.entries(words).filter(([name]) => name in each).map(([name, sign]) => `${sign} ${each[name]}`))
    .join(", ");
}

const byDefault = (schema) =>
  schema.default == null || typeof schema.default === "object" ? "" : `${JSON.stringify(schema.default)} when left out`;

/** One entry for all statuses that have the same body. */
function answers(responses) {
  const alike = Map.groupBy(Object.entries(responses), ([, { content }]) => JSON.stringify(content));
  return [...alike.values()].map((group) => {
    const item = element("li");
    for (const [status, { description }] of group) {
      item.append(element("code", { textContent: status }), element("span", { className: "type", textContent: description }), " ");
    }
    const { content = {} } = group[0][1];
    for (const [type, { schema }] of Object.entries(content)) {
      if (schema && resolved(schema).properties) item.append(folded(type, schema));
      else item.append(element("div", { className: "muted small", textContent: type }));
    }
    return item;
  });
}

start().catch((error) => {
  byId("summary").textContent = `The server does not tell what it has (${error.message}).`;
});
