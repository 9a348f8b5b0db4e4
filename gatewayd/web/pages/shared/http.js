// JSON requests to gatewayd.

const REQUEST_MS = 20_000;

export class HttpError extends Error {
  constructor(status, message, code = "", retryAfterSeconds = 0) {
    super(message);
    this.status = status; // 0: no response
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

// Returns the JSON of a 2xx response; throws an HttpError for any other response, and without one.
export async function send(method, url, { body, headers = {}, credentials = "same-origin" } = {}) {
  let response;
  try {
    response = await fetch(url, {
      method, credentials, cache: "no-store", signal: AbortSignal.timeout(REQUEST_MS),
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new HttpError(0, "gatewayd does not answer");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const { message = `gatewayd answered ${response.status}`, code } = answer?.error ?? {};
  throw new HttpError(response.status, message, code, Number(response.headers.get("Retry-After")) || 0);
}
