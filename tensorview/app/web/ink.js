/* Ink: strokes kept as vectors, and what they look like as the raster a network reads. No Vue, no server. */
(function () {
  "use strict";

  const PEN = 2.2 / 28; // width of the pen, in shorter sides of the raster: as thick as MNIST's strokes
  const INK_BOX = 20 / 28; // longest side of the fitted ink, in sides of the raster: MNIST's 20 x 20 box
  const MAX_ZOOM = 8; // so that the jitter of a tap is not blown up to a stroke
  const SAMPLES = 4; // a side of a cell: 1.0 of 255 (RMS) from the exact area, where one sample is 3.9 off
  const MAX_SIDE = 512; // of the sampled raster, so that a large one still takes a few milliseconds
  const MIN_STEP = 0.1; // cells between two points that are kept: bounds what a long scribble costs

  // Canvases that the processor draws: quick to read, apart from the scene's GPU, and without a fault of Chromium,
  // which under software GL goes on showing the old ink when a frame does nothing but clear.
  const SOFTWARE = { willReadFrequently: true };

  /** Adds the strokes, smoothed through the midpoints of their points, to the path of `context`. */
  function tracePath(context, strokes) {
    context.beginPath();
    for (const points of strokes) {
      context.moveTo(points[0].x, points[0].y);
      for (let i = 1; i < points.length - 1; i++) {
        const { x, y } = points[i];
        context.quadraticCurveTo(x, y, (x + points[i + 1].x) / 2, (y + points[i + 1].y) / 2);
      }
      const last = points[points.length - 1];
      context.lineTo(last.x + 0.001, last.y); // not every browser draws a line of no length, so a tap has some
    }
  }

  /** Mean opacity of every factor x factor block of an ImageData, as Uint8Array, row by row. */
  function areaMean({ data, width, height }, factor) {
    const columns = width / factor;
    const sums = new Float32Array((columns * height) / factor);
    for (let y = 0, i = 3; y < height; y++) {
      const row = Math.floor(y / factor) * columns;
      for (let x = 0; x < width; x++, i += 4) sums[row + Math.floor(x / factor)] += data[i];
    }
    return Uint8Array.from(sums, (sum) => Math.round(sum / factor ** 2));
  }

  /** Strokes on a pad of width x height cells, or an image of that size in their place. */
  class Ink {
    constructor(width, height) {
      this.width = width;
      this.height = height;
      this.pen = PEN * Math.min(width, height);
      this.strokes = []; // each an array of {x, y}, in cells from the pad's top left corner
      this.image = null; // Uint8Array of width * height, 0 paper ... 255 ink
      this.scratch = document.createElement("canvas");
    }

    /** Starts a stroke; an image gives way to it. */
    begin(x, y) {
      this.image = null;
      this.strokes.push([{ x, y }]);
    }

    /** Lengthens the newest stroke. */
    extend(x, y) {
      const points = this.strokes[this.strokes.length - 1];
      const last = points[points.length - 1];
      if (Math.hypot(x - last.x, y - last.y) >= MIN_STEP) points.push({ x, y });
    }

    /** Throws everything away and shows the image, null for none. */
    replace(image) {
      this.strokes = [];
      this.image = image;
    }

    /** Zoom and shift that put the visible ink into the middle, its longest side INK_BOX of the raster. */
    fitTransform() {
      const { width, height, pen } = this;
      let [left, top, right, bottom] = [width, height, 0, 0];
      for (const { x, y } of this.strokes.flat()) {
        const [inX, inY] = [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
        [left, right] = [Math.min(left, inX), Math.max(right, inX)];
        [top, bottom] = [Math.min(top, inY), Math.max(bottom, inY)];
      }
      const across = (INK_BOX * width - pen) / Math.max(right - left, 1e-6);
      const down = (INK_BOX * height - pen) / Math.max(bottom - top, 1e-6);
      const zoom = Math.min(across, down, MAX_ZOOM);
      return { zoom, x: (width - zoom * (left + right)) / 2, y: (height - zoom * (top + bottom)) / 2 };
    }

    /** What the network reads: Uint8Array of width * height, row by row from the top, 0 paper ... 255 ink.
     *
     * `fit` centres and scales the ink, with the pen as thick as ever. What lies outside the pad is left out.
     */
    raster(fit) {
      if (this.image) return this.image.slice();
      const { width, height, pen } = this;
      if (!this.strokes.length) return new Uint8Array(width * height);
      const factor = Math.max(1, Math.min(SAMPLES, Math.floor(MAX_SIDE / Math.max(width, height))));
      const context = this.freshScratch(factor);
      const { zoom, x, y } = fit ? this.fitTransform() : { zoom: 1, x: 0, y: 0 };
      context.setTransform(zoom * factor, 0, 0, zoom * factor, x * factor, y * factor);
      context.beginPath();
      context.rect(0, 0, width, height);
      context.clip();
      this.stroke(context, pen / zoom);
      return areaMean(context.getImageData(0, 0, width * factor, height * factor), factor);
    }

    /** Draws strokes or image over the whole of a canvas of any size, in one CSS colour on nothing. */
    paint(canvas, colour) {
      const context = canvas.getContext("2d", SOFTWARE);
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.setTransform(canvas.width / this.width, 0, 0, canvas.height / this.height, 0, 0);
      context.strokeStyle = context.fillStyle = colour;
      if (this.image) this.paintImage(context);
      else if (this.strokes.length) this.stroke(context, this.pen);
    }

    stroke(context, pen) {
      context.lineWidth = pen;
      context.lineCap = context.lineJoin = "round";
      tracePath(context, this.strokes);
      context.stroke();
    }

    paintImage(context) {
      const pixels = new ImageData(this.width, this.height);
      this.image.forEach((value, i) => (pixels.data[4 * i + 3] = value));
      this.freshScratch(1).putImageData(pixels, 0, 0);
      context.imageSmoothingEnabled = false; // its cells are what the network reads
      context.drawImage(this.scratch, 0, 0);
      context.globalCompositeOperation = "source-in";
      context.fillRect(0, 0, this.width, this.height);
      context.globalCompositeOperation = "source-over";
    }

    freshScratch(factor) {
      this.scratch.width = this.width * factor; // empties it and forgets clip and transform
      this.scratch.height = this.height * factor;
      return this.scratch.getContext("2d", SOFTWARE);
    }
  }

  window.tensorviewInk = { Ink };
})();
