// The room: posts and people over one socket, the composer, reminders and uploads.

import { element, face, megabytes, PostList } from "./posts.js";
import { ReconnectingSocket } from "./socket.js";
import { upload } from "./upload.js";

const STILL_HERE_MS = 45_000;
const NOTICE_MS = 6_000;
// A problem has to be read and perhaps acted upon.
const PROBLEM_MS = 20_000;
// The oldest ones make room: what happens now matters more, and the messages must stay in sight.
const MOST_NOTICES = 3;
const STATES = { connecting: "Connecting…", live: "Live", lost: "Offline" };

const byId = (id) => document.getElementById(id);
const room = byId("room");
const body = byId("body");
const posts = new PostList(byId("posts"), { me: room.dataset.me, empty: byId("empty") });
// Written but not yet seen in the room: sent again after a reconnect; the nonce keeps the room from showing it twice.
const unsent = new Map();
let peopleStamp = 0;

const socket = new ReconnectingSocket({
  address() {
    const url = new URL(room.dataset.socket, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("after", posts.last);
    return url;
  },
  onState(state, detail) {
    byId("state").dataset.state = state;
    byId("state-text").textContent = detail ? `${STATES[state]}, ${detail}` : STATES[state];
    if (state === "live") for (const [nonce, text] of unsent) sendPost(nonce, text);
  },
  onMessage(message) {
    handlers[message.type]?.(message);
  },
  async onRefused() {
    const answer = await fetch(room.dataset.whoami).catch(() => null);
    if (answer?.status !== 401) return false;
    location.assign(room.dataset.signIn);
    return true;
  },
});

const handlers = {
  posts(message) {
    for (const post of message.posts) if (post.author === room.dataset.me) unsent.delete(post.nonce);
    const foreign = posts.add(message.posts);
    if (foreign && !posts.following) byId("newer").hidden = false;
  },
  people(message) {
    // Lists of two workers may overtake each other.
    if (message.stamp <= peopleStamp) return;
    peopleStamp = message.stamp;
    byId("people-count").textContent = message.people.length;
    byId("people").replaceChildren(...message.people.map(person));
  },
  noted(message) {
    notice(`You will be reminded in ${message.seconds} s: ${message.text}`);
  },
  error(message) {
    unsent.delete(message.nonce);
    posts.drop(message.nonce);
    notice(message.text, true);
  },
};

function person(name) {
  const item = element("li");
  item.append(face(name), element("span", "", name === room.dataset.me ? `${name} (you)` : name));
  return item;
}

function notice(text, problem = false) {
  const shown = element("div", problem ? "notice problem" : "notice");
  shown.setAttribute("role", problem ? "alert" : "status");
  const close = element("button", "quiet", "Close");
  close.type = "button";
  close.addEventListener("click", () => shown.remove());
  shown.append(element("span", "", text), close);
  byId("notices").append(shown);
  while (byId("notices").childElementCount > MOST_NOTICES) byId("notices").firstElementChild.remove();
  setTimeout(() => shown.remove(), problem ? PROBLEM_MS : NOTICE_MS);
}

function sendPost(nonce, text) {
  socket.send({ type: "post", body: text, nonce });
}

function nextNonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function grow() {
  body.style.height = "auto";
  body.style.height = `${body.scrollHeight + 2}px`;
}

// Characters as the server counts them, which are not JavaScript's units.
function surplus() {
  return Array.from(body.value.trim()).length - Number(room.dataset.maxPostLength);
}

function showSurplus() {
  const more = surplus();
  byId("too-long").hidden = more <= 0;
  body.setAttribute("aria-invalid", String(more > 0));
  if (more > 0) byId("too-long").textContent = `Too long by ${more} of ${room.dataset.maxPostLength} characters.`;
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = body.value.trim();
  if (!text || surplus() > 0) return body.focus();
  const nonce = nextNonce();
  unsent.set(nonce, text);
  posts.wait(nonce, text);
  posts.toEnd();
  if (socket.live) sendPost(nonce, text);
  body.value = "";
  grow();
  body.focus();
});

body.addEventListener("input", grow);
// Another size of the window or of its text breaks the lines elsewhere.
new ResizeObserver(grow).observe(byId("composer"));
body.addEventListener("input", showSurplus);
body.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});

byId("posts").addEventListener("scroll", () => posts.atEnd && (byId("newer").hidden = true), { passive: true });
byId("newer").addEventListener("click", () => posts.toEnd());
setInterval(() => socket.live && socket.send({ type: "here" }), STILL_HERE_MS);

byId("remind-open").addEventListener("click", () => {
  if (!byId("remind-text").value) byId("remind-text").value = body.value.trim().slice(0, 200);
  byId("remind").showModal();
  byId("remind-text").focus();
});
byId("remind-cancel").addEventListener("click", () => byId("remind").close());
byId("remind-form").addEventListener("submit", () => {
  const text = byId("remind-text").value.trim();
  if (!socket.live) return notice("You are offline: the reminder was not noted.", true);
  socket.send({ type: "remind", text, seconds: Number(byId("remind-seconds").value) });
  byId("remind-text").value = "";
});
byId("remind").addEventListener("close", () => body.focus());

let uploading = null;

async function send(file) {
  const limit = Number(room.dataset.maxUploadBytes);
  if (uploading) return notice("One file at a time: another one is on its way.", true);
  if (file.size > limit) {
    return notice(`${file.name} is ${megabytes(file.size)}: too large. At most ${megabytes(limit)} can be sent.`, true);
  }
  uploading = new AbortController();
  showProgress(0);
  byId("upload-name").textContent = file.name;
  byId("uploading").hidden = false;
  const { upload: address, csrf } = room.dataset;
  try {
    await upload({ address, csrf, file, onProgress: showProgress, signal: uploading.signal });
  } catch (problem) {
    notice(problem.message, true);
  } finally {
    uploading = null;
    byId("uploading").hidden = true;
    body.focus();
  }
}

function showProgress(percent) {
  byId("upload-progress").value = percent;
  byId("upload-percent").textContent = `${percent} %`;
}

byId("upload-cancel").addEventListener("click", () => uploading?.abort());
byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) send(file);
});
