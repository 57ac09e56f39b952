/* tv-stage: stands inside trame-vtk's local view, takes the scene's arrays as the server packs them, and asks the
 * server what is under the pointer.
 *
 * The local view builds the actors once. From then on a scene, or the changed rectangles of its pages, arrive as one
 * binary message each and go straight into the arrays that vtk.js draws: nothing is fetched, hashed or diffed.
 */
(function () {
  "use strict";

  const CLICK_PIXELS = 5;
  const KEPT_TIMES = 400;
  const CAMERA_KEYS = ["position", "focalPoint", "viewUp", "viewAngle"];

  const NOTHING = new Uint8Array(0);
  const NO_LINES = { points: NOTHING, segments: NOTHING, colours: NOTHING, layers: NOTHING };

  const floats = (bytes) => new Float32Array(aligned(bytes));
  const integers = (bytes) => new Int32Array(aligned(bytes));

  /** A buffer of its own: what msgpack gives is a view at any offset of the message. */
  function aligned(bytes) {
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  }

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : 0;
  }

  function push(times, value) {
    times.push(value);
    if (times.length > KEPT_TIMES) times.shift();
  }

  /** Two sets of lines as one; either may be missing. */
  function joined(one, other) {
    if (!one || !other) return one || other || NO_LINES;
    const count = one.points.length / 12;
    const ends = integers(other.segments).map((end) => end + count);
    const both = (name) => {
      const bytes = new Uint8Array(one[name].length + other[name].length);
      bytes.set(one[name]);
      bytes.set(other[name], one[name].length);
      return bytes;
    };
    const segments = new Int32Array([...integers(one.segments), ...ends]);
    return { points: both("points"), segments: new Uint8Array(segments.buffer), colours: both("colours"), layers: both("layers") };
  }

  /** Gives textures of pixels all their smaller levels, without which text is not legible from afar: vtk.js, which
   * fills them, makes room for the first one only. */
  function makeRoomForSmallerLevels(gl) {
    const make = gl.texStorage2D.bind(gl);
    gl.texStorage2D = (target, levels, format, width, height) => {
      const all = 1 + Math.floor(Math.log2(Math.max(width, height)));
      make(target, format === gl.RGBA8 ? all : levels, format, width, height);
    };
  }

  /** Quads that show a page. Layers are drawn from the furthest to the nearest, which makes translucency exact. */
  class Surface {
    constructor(mesh, image, texture, window) {
      this.mesh = mesh;
      this.image = image;
      this.texture = texture;
      this.window = window;
    }

    show({ points, tcoords, quads, layers }) {
      this.rest = floats(points);
      this.layers = integers(layers);
      this.quads = integers(quads);
      this.mesh.getPoints().setData(this.rest.slice(), 3);
      this.mesh.getPointData().getTCoords().setData(floats(tcoords), 2);
      this.ranges = new Map();
      for (let q = 0; q < this.quads.length; q += 4) {
        const layer = this.layers[this.quads[q]];
        const range = this.ranges.get(layer);
        if (range) range[1] = q + 4;
        else this.ranges.set(layer, [q, q + 4]);
      }
    }

    sort(order) {
      const cells = new Uint32Array((this.quads.length / 4) * 5);
      let at = 0;
      for (const layer of order) {
        const range = this.ranges.get(layer);
        for (let q = range ? range[0] : 0; range && q < range[1]; q += 4) {
          cells[at++] = 4;
          for (let k = 0; k < 4; k++) cells[at++] = this.quads[q + k];
        }
      }
      this.mesh.getPolys().setData(cells, 1);
      this.mesh.modified();
    }

    paint({ width, height, pixels, colour }) {
      this.width = width;
      this.colour = colour;
      const count = width * height;
      if (colour) {
        this.texels = new Uint8Array(count * 4);
        for (let i = 0; i < count; i++) {
          this.texels.set(colour, i * 4);
          this.texels[i * 4 + 3] = pixels[i];
        }
      } else {
        this.texels = new Uint8Array(aligned(pixels));
      }
      this.image.setExtent(0, width - 1, 0, height - 1, 0, 0);
      this.image.getPointData().getScalars().setData(this.texels, 4);
      // vtk.js gives a texture storage of a fixed size; another size needs another one.
      const drawn = this.window.getViewNodeFor(this.texture);
      if (drawn) drawn.destroyTexture();
      this.image.modified();
      this.texture.modified();
    }

    /** Replaces a rectangle, in memory and, where the texture is drawn already, on the graphics card. */
    patch({ row, column, height, width, pixels }) {
      let block = pixels;
      if (this.colour) {
        block = new Uint8Array(width * height * 4);
        for (let i = 0; i < width * height; i++) {
          block.set(this.colour, i * 4);
          block[i * 4 + 3] = pixels[i];
        }
      }
      for (let r = 0; r < height; r++) {
        this.texels.set(block.subarray(r * width * 4, (r + 1) * width * 4), ((row + r) * this.width + column) * 4);
      }
      const drawn = this.window.getViewNodeFor(this.texture);
      if (!drawn || !drawn.getHandle()) return;
      const gl = this.window.get3DContext();
      drawn.activate();
      gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
      gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, column, row, width, height, gl.RGBA, gl.UNSIGNED_BYTE, block);
      if (this.texture.getInterpolate()) gl.generateMipmap(gl.TEXTURE_2D);
      drawn.deactivate();
    }
  }

  class Lines {
    constructor(mesh) {
      this.mesh = mesh;
    }

    show({ points, segments, colours, layers }) {
      this.rest = floats(points);
      this.layers = integers(layers);
      const ends = integers(segments);
      const cells = new Uint32Array((ends.length / 2) * 3);
      for (let i = 0, at = 0; i < ends.length; i += 2) {
        cells[at++] = 2;
        cells[at++] = ends[i];
        cells[at++] = ends[i + 1];
      }
      this.mesh.getPoints().setData(this.rest.slice(), 3);
      this.mesh.getLines().setData(cells, 1);
      this.mesh.getPointData().getScalars().setData(new Uint8Array(aligned(colours)), 3);
      this.mesh.modified();
    }
  }

  const TvStage = {
    props: {
      ids: { type: Object, required: true },
      label: { type: String, default: "The network in 3D" },
      testId: { type: String, default: "stage" },
      stats: { type: Boolean, default: false },
    },
    expose: ["look", "resetView", "camera", "aspect", "download"],
    inject: ["view", "trame"],
    template: `<div class="tv-stats" v-if="stats" data-testid="stats" aria-live="off">{{ statsText }}</div>`,
    data: () => ({ statsText: "" }),
    created() {
      this.ready = false;
      this.frames = [];
      this.latencies = [];
      this.order = [];
      this.hover = { inFlight: false, event: null };
      this.press = null;
      this.waiting = this.moving = this.frame = 0;
      window.tensorviewTimes = { frames: this.frames, latencies: this.latencies, scenes: 0 };
    },
    mounted() {
      this.container = this.view.container || this.$el.parentElement;
      this.session = this.trame.client.getConnection().getSession();
      this.subscription = this.session.subscribe("tensorview.stage", ([message]) => this.receive(message));
      this.waitForActors();
      this.clock = setInterval(() => this.showStats(), 500);
    },
    beforeUnmount() {
      this.session.unsubscribe(this.subscription);
      clearInterval(this.clock);
      clearTimeout(this.remembering);
      for (const frame of [this.waiting, this.moving, this.frame]) cancelAnimationFrame(frame);
      if (this.cameraSubscription) this.cameraSubscription.unsubscribe();
      if (this.unlisten) this.unlisten();
    },
    methods: {
      /** The local view makes its actors when their arrays have come; until then there is nothing to fill. */
      waitForActors() {
        const found = this.view.renderer && this.collect();
        if (!found || !this.view.vueCtx.ready.value) {
          this.waiting = requestAnimationFrame(() => this.waitForActors());
          return;
        }
        this.container = this.view.container;
        this.ready = true;
        this.prepareView();
        this.listen();
        this.sync();
      },
      collect() {
        const get = (id) => this.view.ctx.getInstance(id);
        this.surfaces = {};
        for (const [name, { mesh, image, texture }] of Object.entries(this.ids.surfaces)) {
          if (!get(mesh) || !get(image) || !get(texture)) return false;
          this.surfaces[name] = new Surface(get(mesh), get(image), get(texture), this.view.openglRenderWindow);
        }
        this.lines = {};
        for (const [name, mesh] of Object.entries(this.ids.lines)) {
          if (!get(mesh)) return false;
          this.lines[name] = new Lines(get(mesh));
        }
        return true;
      },
      prepareView() {
        makeRoomForSmallerLevels(this.view.openglRenderWindow.get3DContext());
        this.view.resetCamera = () => this.resetView(); // the local view's own R key
        for (const manipulator of this.view.style.getMouseManipulators()) {
          if (manipulator.setUseWorldUpVec) manipulator.setUseWorldUpVec(true);
        }
        const canvas = this.container;
        canvas.setAttribute("tabindex", "0");
        canvas.setAttribute("role", "application");
        canvas.setAttribute("aria-label", this.label);
        canvas.dataset.testid = this.testId;
        this.cameraSubscription = this.view.renderer.getActiveCamera().onModified(() => this.cameraMoved());
      },
      async sync() {
        const message = await this.ask("stage_sync", [this.size()]);
        if (!message) return;
        this.receive(message);
        this.atHome = message.home;
      },
      /** Width and height of the view, and how much of it the page covers at the top and at the bottom, in pixels. */
      size() {
        const area = this.container.getBoundingClientRect();
        const part = (selector) => this.container.closest(".tv-stage-area").querySelector(selector).getBoundingClientRect();
        const corner = part(".tv-corner");
        const top = part(".tv-header").bottom - area.top;
        // In a wide view a network leaves the corner free, where legend and colour bar stand.
        const bottom = corner.width > area.width * 0.7 ? area.bottom - corner.top : 0;
        return [Math.max(1, area.width), Math.max(1, area.height), top, bottom].map(Math.round);
      },

      /** Height over width of the view. */
      aspect() {
        const [width, height] = this.size();
        return height / width;
      },
      receive(message) {
        if (!this.ready) return; // the first sync brings what is missed here
        if (message.kind === "scene") this.showScene(message);
        else if (message.kind === "patches") this.showPatches(message);
        else if (message.kind === "selected") this.frameSelected(message);
        else if (message.kind === "home") this.atHome = true; // the scene that follows brings the view back
      },
      async showScene({ surfaces, lines, pages, depth, camera, background, animation, serial, selected }) {
        if (serial < this.serial) return;
        this.serial = serial;
        cancelAnimationFrame(this.moving);
        this.depth = floats(depth);
        for (const [name, page] of Object.entries(pages)) this.surfaces[name].paint(page);
        for (const [name, arrays] of Object.entries(surfaces)) this.surfaces[name].show(arrays);
        for (const [name, arrays] of Object.entries(lines)) this.lines[name].show(arrays);
        this.selected = selected;
        this.hoverShown = false;
        this.lines.hover.show(joined(selected, null));
        const place = animation && this.mover(animation);
        if (place) place(0);
        this.view.renderer.setBackground(background);
        this.order = [];
        if (camera) this.setCamera(camera);
        this.sortLayers();
        this.container.dataset.serial = serial;
        if (place) this.animate(place, animation.milliseconds, serial);
        else if (this.atHome && !camera) this.resetView();
        else this.draw();
      },
      showPatches({ serial, patches, t, ack }) {
        if (serial !== this.serial) return; // of a scene that is on its way, complete
        for (const patch of patches) this.surfaces[patch.page].patch(patch);
        this.draw();
        window.tensorviewTimes.scenes++;
        this.hover.event = this.hover.last || null;
        this.askHover();
        if (t) requestAnimationFrame(() => push(this.latencies, performance.now() - t));
        if (ack) requestAnimationFrame(() => this.ask("timeline_drawn", []));
      },

      draw() {
        this.view.renderer.resetCameraClippingRange();
        this.view.renderWindow.render();
      },
      /** Frames another layer; a scene that is on its way frames its own. */
      frameSelected({ serial, selected }) {
        if (serial !== this.serial) return;
        this.selected = selected;
        this.hoverShown = false;
        this.lines.hover.show(joined(selected, null));
        this.draw();
        this.hover.event = this.hover.last || null;
        this.askHover();
      },
      /** A function of a share, 0..1, that places every layer on the way from its old box to its new one.
       *
       * A point p begins at p * scale + offset.
       */
      mover({ scale, offset }) {
        const from = floats(scale);
        const shift = floats(offset);
        const parts = [...Object.values(this.surfaces), ...Object.values(this.lines)].filter((p) => p.rest);
        return (share) => {
          for (const { mesh, rest, layers } of parts) {
            const points = new Float32Array(rest.length);
            for (let i = 0; i < layers.length; i++) {
              for (let k = 0; k < 3; k++) {
                const start = rest[3 * i + k] * from[3 * layers[i] + k] + shift[3 * layers[i] + k];
                points[3 * i + k] = start + (rest[3 * i + k] - start) * share;
              }
            }
            mesh.getPoints().setData(points, 3);
            mesh.modified();
          }
        };
      },
      /** Moves every layer to its place, and the camera with them where it is at home. */
      async animate(place, milliseconds, serial) {
        const camera = this.atHome ? await this.firstCamera() : null;
        if (serial !== this.serial) return; // another scene has come meanwhile
        const begin = performance.now();
        const before = this.camera();
        const step = () => {
          const t = Math.min(1, (performance.now() - begin) / milliseconds);
          const eased = t * t * (3 - 2 * t);
          place(eased);
          if (camera && this.atHome) this.setCamera(between(before, camera, eased));
          this.draw();
          if (t < 1) this.moving = requestAnimationFrame(step);
        };
        step();
      },

      // The camera

      camera() {
        const camera = this.view.renderer.getActiveCamera();
        return Object.fromEntries(CAMERA_KEYS.map((key) => [key, plain(camera.get(key)[key])]));
      },
      setCamera({ position, focalPoint, viewUp, viewAngle }) {
        const camera = this.view.renderer.getActiveCamera();
        camera.set({ position, focalPoint, viewUp, viewAngle, parallelProjection: false });
        this.view.style.setCenterOfRotation(focalPoint);
      },
      look(camera) {
        this.setCamera(camera);
        this.draw();
        this.rememberCamera();
      },
      /** What a trigger answers; nothing where the connection has closed, as when the page is being left. */
      ask(name, args) {
        return this.trame.trigger(name, args).catch(() => null);
      },
      firstCamera() {
        return this.ask("first_camera", [this.size()]);
      },
      /** Goes to the first view, and stays with it while layers open, until the person moves the camera. */
      async resetView() {
        this.atHome = true;
        const camera = await this.firstCamera();
        if (camera) this.look(camera);
      },
      cameraMoved() {
        if (!this.depth) return;
        this.sortLayers();
        this.frame = this.frame || requestAnimationFrame((now) => this.countFrame(now));
        clearTimeout(this.remembering);
        this.remembering = setTimeout(() => this.rememberCamera(), 300);
      },
      /** Notes the interval between two frames in both of which the camera moved. */
      countFrame(now) {
        this.frame = 0;
        if (this.lastFrame && now - this.lastFrame < 500) push(this.frames, now - this.lastFrame);
        this.lastFrame = now;
      },
      /** Tells the server where the camera is, null for at home: a page that is loaded again begins there. */
      rememberCamera() {
        return this.ask("camera_moved", [this.atHome ? null : this.camera()]);
      },
      sortLayers() {
        const eye = this.view.renderer.getActiveCamera().getPosition()[2];
        const distance = this.depth.map((z) => Math.abs(z - eye));
        const order = Array.from(this.depth.keys()).sort((a, b) => distance[b] - distance[a]);
        if (order.length === this.order.length && order.every((layer, i) => layer === this.order[i])) return;
        this.order = order;
        for (const surface of Object.values(this.surfaces)) surface.sort(order);
      },
      turn(across, upward) {
        this.atHome = false;
        const camera = this.view.renderer.getActiveCamera();
        camera.azimuth(across);
        camera.elevation(upward);
        camera.orthogonalizeViewUp();
        this.draw();
      },
      zoom(factor) {
        this.atHome = false;
        this.view.renderer.getActiveCamera().dolly(factor);
        this.draw();
      },

      // The pointer and the keys

      listen() {
        const on = (target, type, handler) => {
          target.addEventListener(type, handler);
          return () => target.removeEventListener(type, handler);
        };
        const undo = [
          on(this.container, "pointerdown", (e) => (this.press = { x: e.clientX, y: e.clientY, button: e.button })),
          on(this.container, "pointermove", (e) => this.pointerMoved(e)),
          on(this.container, "pointerleave", () => this.pointerLeft()),
          on(this.container, "pointerup", (e) => this.released(e)),
          on(this.container, "wheel", () => (this.atHome = false)),
          on(this.container, "keydown", (e) => this.key(e)),
          on(document, "keydown", (e) => this.pageKey(e)),
        ];
        const resizes = new ResizeObserver(() => this.atHome && this.resetView());
        resizes.observe(this.container);
        undo.push(() => resizes.disconnect());
        this.unlisten = () => undo.forEach((stop) => stop());
      },
      pointerMoved(event) {
        if (event.buttons) {
          if (this.press && this.travelled(event) > CLICK_PIXELS) this.atHome = false;
          return;
        }
        this.hover.event = this.hover.last = [event.clientX, event.clientY];
        this.askHover();
      },
      pointerLeft() {
        this.hover.event = this.hover.last = null;
        this.showHover(null);
        if (this.hovered) this.ask("pointer_left", []);
        this.hovered = false;
      },
      travelled(event) {
        return Math.hypot(event.clientX - this.press.x, event.clientY - this.press.y);
      },
      released(event) {
        const clicked = this.press && this.press.button === 0 && this.travelled(event) <= CLICK_PIXELS;
        this.press = null;
        if (!clicked) return;
        this.ask("stage_clicked", [this.spot(event.clientX, event.clientY), this.camera()]);
      },
      /** The place in the view, in CSS pixels from its top left corner, and the view's size. */
      spot(clientX, clientY) {
        const area = this.container.getBoundingClientRect();
        return [clientX - area.left, clientY - area.top, area.width, area.height];
      },
      async askHover() {
        const { hover } = this;
        if (hover.inFlight || !hover.event) return;
        hover.inFlight = true;
        const [x, y] = hover.event;
        hover.event = null;
        try {
          const answer = await this.ask("stage_hovered", [this.spot(x, y), this.camera()]);
          this.hovered = Boolean(answer);
          if (hover.last) this.showHover(answer);
        } finally {
          hover.inFlight = false;
        }
        this.askHover();
      },
      showHover(lines) {
        if (!lines && !this.hoverShown) return;
        this.hoverShown = Boolean(lines);
        this.lines.hover.show(joined(this.selected, lines));
        this.draw();
      },
      key(event) {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const actions = {
          ArrowLeft: () => this.turn(-5, 0),
          ArrowRight: () => this.turn(5, 0),
          ArrowUp: () => this.turn(0, 5),
          ArrowDown: () => this.turn(0, -5),
          "+": () => this.zoom(1.1),
          "=": () => this.zoom(1.1),
          "-": () => this.zoom(1 / 1.1),
        };
        if (!actions[event.key]) return;
        event.preventDefault();
        actions[event.key]();
      },

      /** Keys that work wherever nothing is being typed or drawn. */
      pageKey(event) {
        if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, [role=dialog]")) return;
        const actions = {
          r: () => this.resetView(),
          o: () => this.ask("open_all", []),
          c: () => this.ask("close_all", []),
          h: () => this.trame.state.set("show_help", true),
          "?": () => this.trame.state.set("show_help", true),
        };
        const action = actions[event.key.toLowerCase()];
        if (action) action();
      },

      /** Saves a file that waits on the server. */
      download(name, url) {
        Object.assign(document.createElement("a"), { href: url, download: name }).click();
      },
      showStats() {
        if (!this.stats) return;
        const frame = median(this.frames.slice(-60));
        const latency = median(this.latencies.slice(-30));
        const parts = [];
        if (frame) parts.push(`${frame.toFixed(0)} ms a frame`);
        if (latency) parts.push(`${latency.toFixed(0)} ms from stroke to picture`);
        this.statsText = parts.join(" · ") || "turn the view or draw to measure";
      },
    },
  };

  /** A camera part of the way from one to another. */
  function between(from, to, share) {
    const mixed = (a, b) => (typeof a === "number" ? a + (b - a) * share : a.map((x, i) => x + (b[i] - x) * share));
    return Object.fromEntries(CAMERA_KEYS.map((key) => [key, mixed(from[key], to[key])]));
  }

  function plain(value) {
    return typeof value === "number" ? value : Array.from(value);
  }

  /** Opaque canvases: vtk.js asks for transparent ones, which a browser blends with what is behind at every frame. */
  function makeOpaque() {
    const { getContext } = HTMLCanvasElement.prototype;
    HTMLCanvasElement.prototype.getContext = function (kind, options) {
      const opaque = kind.startsWith("webgl") && options ? { ...options, alpha: false } : options;
      return getContext.call(this, kind, opaque);
    };
  }

  window.tensorviewStage = {
    install(app) {
      makeOpaque();
      app.component("TvStage", TvStage);
    },
  };
})();
