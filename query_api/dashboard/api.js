// Asking the API: answers with how stale they are, and problems as errors.

export class Problem extends Error {
  /** `status` 0 when there was no answer at all. */
  constructor(status, { detail = "The answer cannot be read.", errors = [], next_cursor = null } = {}) {
    super(detail);
    Object.assign(this, { status, errors, nextCursor: next_cursor });
  }
}

/** The body of an answer, and for how many seconds it has been stale (null: it is fresh). */
export async function load(path, signal) {
  let answer;
  try {
    answer = await fetch(path, { signal, headers: { Accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "YouSync cannot be reached." });
  }
  const said = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (!answer.ok || said === null) throw new Problem(answer.status, said ?? {});
  return { body: said, staleSeconds: staleSeconds(answer.headers) };
}

function staleSeconds(headers) {
  if (!/^11[01]\b/.test(headers.get("Warning") ?? "")) return null;
  return Number(headers.get("Age")) || 0;
}
