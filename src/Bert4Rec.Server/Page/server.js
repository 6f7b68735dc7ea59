// What the page asks of its server, and nothing else: it needs no other network.

let key = sessionStorage.getItem("key");

/** The server's reason for not answering; see RFC 9457. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Shows this key from now on. */
export function unlock(newKey) {
  key = newKey;
  sessionStorage.setItem("key", key);
}

// Without limit and k: the server knows how many it gives at most.
export const health = () => ask("healthz/ready");
export const search = (text, signal) => ask(`v1/items?q=${encodeURIComponent(text)}`, signal);
export const historyOf = user => ask(`v1/users/${encodeURIComponent(user)}/history`);
export const similar = item => ask(`v1/items/${encodeURIComponent(item)}/similar`);
export const recommend = (request, signal) => ask("v1/recommend", signal, request);
export const attention = (history, signal) => ask("v1/attention", signal, { history });

async function ask(path, signal, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body)
    headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers, signal });
  const answer = await response.json();
  if (!response.ok)
    throw new Problem(response.status, answer.detail);
  return answer;
}
