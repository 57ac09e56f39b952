/* tv-drop: a picture of one's own, by button, paste or drag anywhere on the page. The server does the real checks. */
(function () {
  "use strict";

  const TENTH = 1e5; // of a megabyte, in bytes

  /** Whether a file matches an `accept` list such as "image/png,image/*,.webp". */
  function isAccepted({ name, type }, accept) {
    if (!type) return true; // not every system knows WebP
    return accept.split(",").map((token) => token.trim()).some((token) => {
      if (token.startsWith(".")) return name.toLowerCase().endsWith(token.toLowerCase());
      return token.endsWith("/*") ? type.startsWith(token.slice(0, -1)) : type === token;
    });
  }

  /** "image/png,image/jpeg,.webp" -> "PNG, JPEG or WEBP" */
  function kinds(accept) {
    const names = accept.split(",").map((token) => token.trim().replace(/^(.*\/|\.)/, "").toUpperCase());
    return names.length > 1 ? `${names.slice(0, -1).join(", ")} or ${names[names.length - 1]}` : names[0];
  }

  const TvDrop = {
    props: {
      trigger: { type: String, default: "image_dropped" },
      place: { type: String, default: "" }, // a trigger that says where to send the file, too large for a message
      refusedTrigger: { type: String, default: "image_refused" },
      maxBytes: { type: Number, required: true },
      accept: { type: String, default: "image/png,image/jpeg,image/webp" },
      testId: { type: String, default: "upload" },
      text: { type: String, default: "Upload" },
      label: { type: String, default: "Upload a picture" },
      dropText: { type: String, default: "Drop the picture here" },
    },
    inject: ["trame"],
    template: `
      <label class="tv-drop" :class="{ 'tv-drop--busy': sending }">
        <input class="tv-drop__input" type="file" :accept="accept" :aria-label="label" :data-testid="testId"
          @change="onChoose">
        <span class="tv-drop__face" aria-live="polite"><slot>{{ sending ? "Sending\u2026" : text }}</slot></span>
        <Teleport to="body">
          <div v-if="dragging" class="tv-drop__overlay"><span class="tv-drop__message">{{ dropText }}</span></div>
        </Teleport>
      </label>`,
    data: () => ({ dragging: false, sending: 0 }),
    mounted() {
      this.listeners = {
        paste: this.onPaste,
        dragenter: this.onDrag,
        dragover: this.onDrag,
        dragleave: this.onLeave,
        drop: this.onDrop,
      };
      for (const [name, listener] of Object.entries(this.listeners)) window.addEventListener(name, listener);
    },
    beforeUnmount() {
      for (const [name, listener] of Object.entries(this.listeners)) window.removeEventListener(name, listener);
    },
    methods: {
      onChoose({ target }) {
        const file = target.files[0];
        if (file) this.take(file);
        target.value = ""; // so that the same file can be chosen again
      },
      onPaste(event) {
        const file = event.clipboardData && event.clipboardData.files[0];
        if (!file) return; // text is for whoever has the focus
        event.preventDefault();
        this.take(file);
      },
      onDrag(event) {
        if (!event.dataTransfer || !event.dataTransfer.types.includes("Files")) return;
        event.preventDefault(); // or the browser leaves the page for the picture
        this.dragging = true;
      },
      onLeave(event) {
        if (!event.relatedTarget) this.dragging = false; // left the window, not just an element
      },
      onDrop(event) {
        if (!this.dragging) return;
        event.preventDefault();
        this.dragging = false;
        const file = event.dataTransfer.files[0];
        if (file) this.take(file);
      },

      /** Sends the file, or the sentence that says why not. Never throws. */
      async take(file) {
        const name = file.name || "the picture";
        if (!isAccepted(file, this.accept)) {
          return this.refuse(`${name} is ${file.type}, and only ${kinds(this.accept)} can be read.`);
        }
        if (file.size > this.maxBytes) {
          const size = Math.ceil(file.size / TENTH) / 10; // away from each other, never the same number twice
          const limit = Math.floor(this.maxBytes / TENTH) / 10;
          return this.refuse(`${name} has ${size.toFixed(1)} MB, and at most ${limit.toFixed(1)} MB can be sent.`);
        }
        const start = await file.slice(0, 1).arrayBuffer().catch(() => null);
        if (!start) return this.refuse(`${name} could not be read: check that it is a file and still there.`);
        this.sending++;
        try {
          await (this.place ? this.post(file) : this.trame.trigger(this.trigger, [await file.arrayBuffer(), name]));
        } catch {
          this.refuse(`${name} did not reach the server: try again.`);
        } finally {
          this.sending--;
        }
      },
      async post(file) {
        const { url } = await this.trame.trigger(this.place, []);
        const answer = await fetch(url, { method: "POST", body: file });
        if (!answer.ok) throw new Error(await answer.text());
      },
      refuse(sentence) {
        this.trame.trigger(this.refusedTrigger, [sentence]).catch(() => {}); // no connection: the page shows that itself
      },
    },
  };

  window.tensorviewDrop = {
    install(app) {
      app.component("TvDrop", TvDrop);
    },
  };
})();
