// The room by long polls: each request is held until there is something new.

import { PostList } from "./posts.js";
import { delayBeforeTry } from "./socket.js";

// Shorter than any proxy's patience and the server's own deadline.
const PATIENCE_MS = 25_000;

const room = document.getElementById("room");
const state = document.getElementById("state");
const stateText = document.getElementById("state-text");
const posts = new PostList(document.getElementById("posts"), {
  me: room.dataset.me,
  empty: document.getElementById("empty"),
});

function show(name, text) {
  state.dataset.state = name;
  stateText.textContent = text;
}

async function ask() {
  const answer = await fetch(`${room.dataset.next}?after=${posts.last}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status === 401) {
    location.assign(room.dataset.signIn);
    return;
  }
  if (!answer.ok) throw new Error(`answered ${answer.status}`);
  posts.add((await answer.json()).posts);
}

for (let failures = 0; ; ) {
  show("live", "Waiting for the next message");
  try {
    await ask();
    failures = 0;
  } catch (problem) {
    // Nothing was said for a while: ask again at once.
    if (problem.name === "TimeoutError") continue;
    const delay = delayBeforeTry(failures);
    failures += 1;
    show("lost", `Offline, trying again in ${Math.max(1, Math.round(delay / 1000))} s`);
    await new Promise((resolve) => setTimeout(resolve, delay));
  }
}
