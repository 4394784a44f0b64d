// Uploading one file with its progress. `fetch` cannot tell how far an upload is; XMLHttpRequest can.

const PROBLEMS = {
  401: "You are signed out. Sign in and try again.",
  403: "The site refused the file. Reload the page and try again.",
  413: "The file is too large.",
  503: "The server is busy. Try again in a moment.",
};

/** Resolves when the file is in the room; rejects with an Error whose message can be shown. */
export function upload({ address, csrf, file, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("X-CSRFToken", csrf);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(Math.floor((100 * event.loaded) / event.total));
    });
    request.addEventListener("load", () => {
      if (request.status === 201) return resolve();
      reject(new Error(request.response?.error ?? PROBLEMS[request.status] ?? `The server answered ${request.status}.`));
    });
    request.addEventListener("error", () => reject(new Error("The connection was lost during the upload.")));
    request.addEventListener("abort", () => reject(new Error("The upload was cancelled.")));
    signal.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}
