// Showing posts: each once, in the order of their numbers. Text is always set as text, never as HTML.

const TINTS = 6;
const SAME_AUTHOR_MS = 5 * 60_000;

export function face(name) {
  const shown = element("span", "face");
  let sum = 0;
  for (const letter of name) sum += letter.codePointAt(0);
  shown.classList.add(`tint-${sum % TINTS}`);
  shown.textContent = name.slice(0, 1);
  shown.setAttribute("aria-hidden", "true");
  return shown;
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function megabytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function content(post) {
  if (post.kind !== "file") return element("p", "", post.body);
  const link = element("a", "file-link", post.body);
  link.href = post.url;
  link.append(element("span", "", megabytes(post.size)));
  return link;
}

export class PostList {
  constructor(list, { me, empty }) {
    Object.assign(this, { list, me, empty });
    this.last = 0;
    this.items = new Map();
    this.unsent = new Map();
    // Whether the person reads the newest posts: then the list stays at its end when it grows or shrinks.
    this.following = true;
    list.addEventListener("scroll", () => (this.following = this.atEnd), { passive: true });
    new ResizeObserver(() => this.following && this.toEnd()).observe(list);
  }

  // Adds what is new; answers how many of them are other people's.
  add(posts) {
    const follow = this.following;
    let foreign = 0;
    for (const post of posts) {
      this.sent(post);
      if (this.items.has(post.id)) continue;
      const item = this.build(post);
      this.items.set(post.id, item);
      this.list.insertBefore(item, this.placeFor(post.id));
      this.last = Math.max(this.last, post.id);
      if (post.author !== this.me) foreign += 1;
      this.group(item);
      if (item.nextElementSibling) this.group(item.nextElementSibling);
    }
    this.empty.hidden = this.list.childElementCount > 0;
    if (follow) this.toEnd();
    return foreign;
  }

  // Shows what was written but has not come back from the room yet.
  wait(nonce, body) {
    const item = this.build({ author: this.me, body, kind: "text", at: "" });
    item.classList.add("unsent");
    this.unsent.set(nonce, item);
    this.list.append(item);
    this.empty.hidden = true;
    this.group(item);
  }

  sent(post) {
    const item = this.unsent.get(post.nonce);
    if (!item || post.author !== this.me) return;
    this.unsent.delete(post.nonce);
    item.remove();
  }

  drop(nonce) {
    this.unsent.get(nonce)?.remove();
    this.unsent.delete(nonce);
  }

  get atEnd() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 80;
  }

  toEnd() {
    this.following = true;
    this.list.scrollTop = this.list.scrollHeight;
  }

  build(post) {
    const item = element("li", `post ${post.kind}`);
    item.dataset.id = post.id ?? "";
    item.dataset.author = post.author;
    item.dataset.at = post.at;
    if (post.author === this.me) item.classList.add("mine");
    const byline = element("div", "byline");
    byline.append(element("strong", "", post.kind === "reminder" ? "Your reminder" : post.author));
    const time = element("time", "", post.at && new Date(post.at).toLocaleTimeString([], { timeStyle: "short" }));
    if (post.at) {
      time.dateTime = post.at;
      time.title = new Date(post.at).toLocaleString();
    }
    byline.append(time);
    const bubble = element("div", "bubble");
    bubble.append(byline, content(post));
    item.append(face(post.author), bubble);
    return item;
  }

  placeFor(id) {
    let after = null;
    for (let item = this.list.lastElementChild; item; item = item.previousElementSibling) {
      if (item.dataset.id && Number(item.dataset.id) < id) return after;
      after = item;
    }
    return after;
  }

  // Several posts of one person in a row show the name once.
  group(item) {
    const before = item.previousElementSibling;
    const close = before && (!item.dataset.at || new Date(item.dataset.at) - new Date(before.dataset.at) < SAME_AUTHOR_MS);
    const alike = close && before.dataset.author === item.dataset.author;
    const plain = !item.classList.contains("reminder") && before && !before.classList.contains("reminder");
    item.classList.toggle("same", Boolean(alike && plain));
  }
}
