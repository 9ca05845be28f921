// Api: requests of this page to the API it was served from.

/** An answer that is no success: its status, and the problem it told. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** An address of this API, wherever it is mounted. */
export const address = (path) => new URL(path, document.baseURI);

let csrf = null;
let renew = null;

/** The token that changes need when this page is signed in. */
export function setCsrf(token) {
  csrf = token;
}

/** `renewed(refused, isChange)` gets the session back where it is over; false: it did not, and the answer stands. */
export function onSessionOver(renewed) {
  renew = renewed;
}

/** One request, and its answer as it is. */
export async function send(method, path, body, headers = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  if (csrf !== null && method !== "GET") sent["X-Nebula-Csrf"] = csrf;
  const response = await fetch(address(path), {
    method,
    headers: sent,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
  });
  const text = await response.text();
  const kind = response.headers.get("Content-Type") || "";
  const value = kind.includes("json") && text ? JSON.parse(text) : {};
  if (!response.ok) throw new Refused(response.status, value);
  return { value, headers: response.headers };
}

/** The same; a session that is over is asked for once more, and then the request is made again. */
async function call(method, path, body, headers) {
  try {
    return await send(method, path, body, headers);
  } catch (error) {
    const isOver = error.status === 401 || error.problem?.code === "csrf";
    if (!isOver || renew === null || !(await renew(error, method !== "GET"))) throw error;
    return send(method, path, body, headers);
  }
}

export const get = async (path) => (await call("GET", path)).value;
export const getWithTag = async (path) => {
  const { value, headers } = await call("GET", path);
  return { value, tag: headers.get("ETag") };
};
export const post = async (path, body, headers) => (await call("POST", path, body, headers)).value;

/** Every page of a list. */
export async function all(path) {
  const items = [];
  let cursor = null;
  do {
    const url = address(path);
    url.searchParams.set("limit", "500");
    if (cursor) url.searchParams.set("cursor", cursor);
    const page = await get(url);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}
