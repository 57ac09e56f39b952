/* tv-pad: a pad to draw on with mouse, pen or finger. It sends rasters of the model's own size to a trigger.
 *
 * The server's own changes come through load() and are not sent back; whatever a person does is.
 */
(function () {
  "use strict";

  /** Calls `post` (which returns a promise) for the newest wish only, one call in flight at a time.
   *
   * A call that fails is not repeated by itself: the next one carries all that it carried.
   */
  function newestOnly(post) {
    let wanted = false;
    let inFlight = false;

    function pump() {
      if (!wanted || inFlight) return;
      wanted = false;
      inFlight = true;
      const landed = () => {
        inFlight = false;
        pump();
      };
      post().then(landed, landed);
    }

    return { pump, want: () => (wanted = true), cancel: () => (wanted = false) };
  }

  const TvPad = {
    props: {
      width: { type: Number, default: 28 },
      height: { type: Number, default: 28 },
      fit: { type: Boolean, default: true },
      live: { type: Boolean, default: true },
      trigger: { type: String, default: "pad_drawn" },
      testId: { type: String, default: "digit-pad" },
      hint: { type: String, default: "Draw a digit" },
      label: { type: String, default: "Drawing pad. Delete clears it, Control Z takes back the last stroke." },
    },
    emits: ["ready", "strokes"],
    expose: ["clear", "undo", "send", "load"],
    inject: ["trame"],
    template: `
      <div class="tv-pad" :class="'tv-pad--' + content" ref="box">
        <canvas class="tv-pad__ink" ref="canvas" tabindex="0" role="application" aria-roledescription="drawing pad"
          aria-keyshortcuts="Delete Control+Z" :aria-label="label" :data-testid="testId"
          @pointerdown="onDown" @pointermove="onMove" @pointerup="onEnd" @pointercancel="onEnd"
          @lostpointercapture="onEnd" @keydown="onKey" @contextmenu.prevent @transitionend="paint"></canvas>
        <span class="tv-pad__hint" aria-hidden="true">{{ hint }}</span>
      </div>`,
    data: () => ({ content: "nothing" }), // or "ink", "image"
    watch: {
      width: "resetInk",
      height: "resetInk",
      fit() {
        if (this.content === "ink") this.changed();
      },
    },
    created() {
      this.pointer = null; // id of the pointer that draws
      this.newest = 0; // when the newest thing drawn happened, on the clock of performance.now()
      this.sequence = 0;
      this.frame = 0;
      this.sender = newestOnly(() => this.post());
    },
    mounted() {
      this.resetInk();
      this.observer = new ResizeObserver(([entry]) => this.onResize(entry));
      try {
        this.observer.observe(this.$refs.canvas, { box: "device-pixel-content-box" });
      } catch {
        this.observer.observe(this.$refs.canvas); // Safari does not tell when only the zoom changes
      }
      this.$emit("ready"); // also after a reconnection, which builds the page anew
    },
    beforeUnmount() {
      this.observer.disconnect();
      cancelAnimationFrame(this.frame);
    },
    methods: {
      /** Empties the pad, and says so to the server when live. */
      clear() {
        this.ink.replace(null);
        this.pointer = null;
        this.newest = performance.now();
        this.changed();
      },
      /** Takes back the last stroke. */
      undo() {
        if (this.pointer !== null || !this.ink.strokes.length) return;
        this.ink.strokes.pop();
        this.newest = performance.now();
        this.changed();
      },
      /** Sends what the pad holds, drawn or loaded, also when not live. */
      send() {
        this.sender.want();
        this.sender.pump();
      },
      /** Shows an image of the server: width * height bytes, 0 paper ... 255 ink; null empties the pad. */
      load(data) {
        const image = data ? toBytes(data) : null;
        if (image && image.length !== this.width * this.height) {
          console.error(`the pad shows ${this.width} x ${this.height} bytes and was given ${image.length}`);
          return;
        }
        this.ink.replace(image);
        this.pointer = null;
        this.sender.cancel();
        this.show();
      },

      post() {
        // An ArrayBuffer: trame's client would turn a typed array into a list of numbers before it packs it.
        const raster = this.ink.raster(this.fit).buffer;
        return this.trame.trigger(this.trigger, [raster, { seq: ++this.sequence, t: this.newest }]);
      },
      changed() {
        if (this.live) this.sender.want();
        this.show();
      },
      show() {
        this.content = this.ink.image ? "image" : this.ink.strokes.length ? "ink" : "nothing";
        this.$emit("strokes", this.ink.strokes.length);
        this.frame = this.frame || requestAnimationFrame(() => {
          this.frame = 0;
          this.paint();
          this.sender.pump();
        });
      },
      paint() {
        this.ink.paint(this.$refs.canvas, getComputedStyle(this.$refs.canvas).color);
      },
      resetInk() {
        this.ink = new tensorviewInk.Ink(this.width, this.height);
        this.$refs.box.style.setProperty("--tv-pad-shape", `${this.width} / ${this.height}`);
        this.load(null);
      },
      onResize({ contentRect: { width, height } }) {
        if (!width) return; // hidden
        this.$refs.canvas.width = Math.round(width * window.devicePixelRatio);
        this.$refs.canvas.height = Math.round(height * window.devicePixelRatio);
        this.paint();
      },

      toCells(event) {
        const area = this.$refs.canvas.getBoundingClientRect();
        const x = ((event.clientX - area.left) / area.width) * this.width;
        return [x, ((event.clientY - area.top) / area.height) * this.height];
      },
      onDown(event) {
        if (this.pointer !== null || event.button !== 0 || !event.isPrimary) return;
        this.pointer = event.pointerId;
        this.$refs.canvas.setPointerCapture(event.pointerId);
        this.$refs.canvas.focus({ preventScroll: true });
        this.ink.begin(...this.toCells(event));
        this.newest = event.timeStamp;
        this.changed();
      },
      onMove(event) {
        if (event.pointerId !== this.pointer) return;
        const between = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
        for (const point of between.length ? between : [event]) this.ink.extend(...this.toCells(point));
        this.newest = event.timeStamp;
        this.changed();
      },
      onEnd(event) {
        if (event.pointerId === this.pointer) this.pointer = null;
      },
      onKey(event) {
        const undoes = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
        const clears = event.key === "Escape" || event.key === "Delete";
        if (this.content === "nothing" || !(undoes || clears)) return; // left to the page
        event.preventDefault();
        event.stopPropagation();
        if (undoes) this.undo();
        else this.clear();
      },
    },
  };

  /** A copy of what the server sent. */
  function toBytes(data) {
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
    return Uint8Array.from(data instanceof ArrayBuffer ? new Uint8Array(data) : data);
  }

  window.tensorviewPad = {
    install(app) {
      app.component("TvPad", TvPad);
    },
  };
})();
