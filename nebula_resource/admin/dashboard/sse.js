// Sse: reads text/event-stream by itself, so that heartbeats, status codes and the last id are ours to see.

/** Cuts a stream of text into events: feed() takes text as it comes and returns {id, event, data} and comments. */
export class Parser {
  constructor() {
    this.rest = "";
    this.clear();
  }

  clear() {
    this.event = "";
    this.data = [];
  }

  feed(text) {
    const found = [];
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.data.length) found.push({ id: this.id, event: this.event || "message", data: this.data.join("\n") });
        this.clear();
      } else if (line.startsWith(":")) {
        found.push({ comment: line.slice(1).trim() });
      } else {
        this.field(line, found);
      }
    }
    return found;
  }

  field(line, found) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.data.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id") found.push({ id: (this.id = value) });
    else if (name === "retry") found.push({ retry: Number(value) });
  }
}

/** Reads one stream until it ends; `heard` gets each item of the parser. Rejects where the answer is no stream. */
export async function read(url, lastId, heard, signal) {
  const headers = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  const response = await fetch(url, { headers, signal, credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw Object.assign(new Error(`status ${response.status}`), { status: response.status });
  const parser = new Parser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const item of parser.feed(value)) heard(item);
  }
}
