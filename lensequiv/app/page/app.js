// The page of `lensequiv app`: drops, calls and pictures. Nothing is loaded from, or
// sent to, any other place than the server it came from.
"use strict";

const $ = (id) => document.getElementById(id);
// Okabe and Ito's colours, distinguishable with any colour vision.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];
const MAGMA = ["#000004", "#1d1147", "#51127c", "#832681", "#b73779", "#e75263",
  "#fc8961", "#fec488", "#fcfdbf"];
const DIVERGING = ["#7f3b08", "#be630a", "#ef9e3c", "#fed7a2", "#f6f6f7", "#cecde4",
  "#988dbe", "#5d3790", "#2d004b"];

let limits = { max_bytes: 0, formats: [] };
let shown = null; // what the server said of the image
let seen = new Map(); // probabilities by angle
let file = null;
let asked = 0; // counts drops: answers to older ones are passed over

async function call(path, body) {
  const method = path === "/api/info" ? "GET" : "POST";
  let response;
  try {
    response = await fetch(path, { method, body, headers: { "X-Lensequiv": "1" } });
  } catch {
    throw new Error("the server does not answer: is lensequiv app still running?");
  }
  const answer = await response.json().catch(() => ({ error: `error ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function tell(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

const mebibytes = (bytes) => +(bytes / 2 ** 20).toPrecision(3);

// Colours

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function palette(anchors) {
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (anchors.length - 1);
    const low = Math.min(Math.floor(place), anchors.length - 2);
    const [a, b] = [channels(anchors[low]), channels(anchors[low + 1])];
    for (let c = 0; c < 3; c++) table[3 * i + c] = a[c] + (b[c] - a[c]) * (place - low);
  }
  return table;
}
const TABLES = { magma: palette(MAGMA), diverging: palette(DIVERGING) };

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

// A canvas of the size it has on the screen, cleared.
function prepared(canvas, ratio) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 300;
  canvas.style.aspectRatio = 1 / ratio; // whatever its width will be
  canvas.width = width * scale;
  canvas.height = width * ratio * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  return [pen, width, width * ratio];
}

// Pictures

// A pixel of the picture is `step` pixels of the image and, where that is known,
// `pixelScale` arcsec.
function drawPicture(canvas, picture, colours, pixelScale, ink, step = 1) {
  const bytes = Uint8Array.from(atob(picture.data), (c) => c.charCodeAt(0));
  const { width, height } = picture;
  const image = new ImageData(width, height);
  const table = TABLES[colours];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const level = bytes[(height - 1 - y) * width + x]; // row 0 is at the bottom
      const place = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) image.data[place + c] = table[3 * level + c];
      image.data[place + 3] = 255;
    }
  }
  const small = new OffscreenCanvas(width, height);
  small.getContext("2d").putImageData(image, 0, 0);
  const [pen, w, h] = prepared(canvas, height / width);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, w, h);
  scaleBar(pen, w, h, width, pixelScale, ink, step);
}

// The longest round length that takes at most a third of the width.
function scaleBar(pen, w, h, pixels, pixelScale, ink, step) {
  const unit = pixelScale || step;
  const longest = (pixels * unit) / 3;
  const power = 10 ** Math.floor(Math.log10(longest));
  const length = [5, 2, 1].find((step) => step * power <= longest) * power;
  const bar = (length / unit / pixels) * w;
  const label = pixelScale ? `${+length.toPrecision(3)}″` : `${length} pixels`;
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "left";
  pen.textBaseline = "alphabetic";
  pen.lineJoin = "round";
  // First a rim, so that it can be read on any picture.
  for (const [colour, rim] of [[ink === "#ffffff" ? "#000000" : "#ffffff", 3], [ink, 0]]) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.fillRect(12 - rim / 2, h - 13.5 - rim / 2, bar + rim, 3 + rim);
    pen.lineWidth = rim;
    if (rim) pen.strokeText(label, 12, h - 18);
    else pen.fillText(label, 12, h - 18);
  }
}

function drawBars(answer) {
  const best = answer.probabilities.indexOf(Math.max(...answer.probabilities));
  $("bars").replaceChildren(...shown.classes.map((name, i) => {
    const row = document.createElement("div");
    row.className = i === best ? "bar best" : "bar";
    const [label, track, value] = ["span", "div", "span"].map((tag) => document.createElement(tag));
    label.textContent = name;
    value.textContent = answer.probabilities[i].toFixed(3);
    track.className = "track";
    const fill = document.createElement("div");
    fill.className = "fill";
    fill.style.width = `${100 * answer.probabilities[i]}%`;
    fill.style.background = COLOURS[i % COLOURS.length];
    track.append(fill);
    row.append(label, track, value);
    return row;
  }));
}

function drawCurve(degrees) {
  const [pen, w, h] = prepared($("curve"), 0.5);
  const [left, bottom, top] = [34, h - 22, 8];
  const x = (angle) => left + ((w - left - 10) * angle) / 360;
  const y = (p) => bottom - (bottom - top) * p;
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = style("--soft");
  pen.strokeStyle = style("--line");
  pen.textAlign = "center";
  for (let angle = 0; angle <= 360; angle += 90) {
    pen.beginPath(); pen.moveTo(x(angle), top); pen.lineTo(x(angle), bottom); pen.stroke();
    pen.fillText(`${angle}°`, Math.min(x(angle), w - 16), h - 6);
  }
  pen.textAlign = "right";
  for (const p of [0, 0.5, 1]) {
    pen.beginPath(); pen.moveTo(left, y(p)); pen.lineTo(w - 10, y(p)); pen.stroke();
    pen.fillText(p.toString(), left - 6, y(p) + 4);
  }
  $("legend").replaceChildren(...shown.classes.map((name, i) => {
    const entry = document.createElement("span");
    entry.textContent = name;
    entry.style.borderColor = COLOURS[i % COLOURS.length];
    return entry;
  }));
  const rows = [...seen].sort((a, b) => a[0] - b[0]);
  shown.classes.forEach((name, i) => {
    pen.strokeStyle = pen.fillStyle = COLOURS[i % COLOURS.length];
    pen.lineWidth = 1.5;
    pen.beginPath();
    rows.forEach(([angle, p]) => pen.lineTo(x(angle), y(p[i])));
    pen.stroke();
    rows.forEach(([angle, p]) => {
      pen.beginPath();
      pen.arc(x(angle), y(p[i]), angle === degrees ? 4 : 2, 0, 7);
      pen.fill();
    });
  });
}

function drawEmbedding(answer) {
  const [pen, w, h] = prepared($("embedding"), 0.5);
  const first = shown.embedding, now = answer.embedding;
  const largest = Math.max(...first.map(Math.abs), ...now.map(Math.abs)) || 1;
  const lowest = Math.min(0, ...first, ...now) < 0 ? -largest : 0;
  const y = (v) => h - 6 - ((h - 12) * (v - lowest)) / (largest - lowest);
  const step = w / now.length;
  now.forEach((value, i) => {
    pen.fillStyle = COLOURS[0];
    pen.fillRect(i * step + step * 0.15, Math.min(y(value), y(0)), step * 0.7, Math.abs(y(value) - y(0)));
    pen.fillStyle = style("--ink");
    pen.fillRect(i * step, y(first[i]) - 1, step, 2);
  });
  const change = (100 * answer.change).toPrecision(2);
  $("change").textContent = `Embedding, ${now.length} components; marks: at 0°. Changed by ${answer.change ? +change : 0} % of its length`;
}

function drawAnswer(answer) {
  drawBars(answer);
  drawPicture($("image"), answer.picture, "magma", shown.pixel_scale, "#ffffff");
  drawMap(answer.map);
  seen.set(answer.angle, answer.probabilities);
  drawCurve(answer.angle);
  drawEmbedding(answer);
  current = answer;
}
let current = null, explained = null;

// Of weights that draw one; it turns with the image.
function drawMap(map) {
  if (!map) return;
  drawPicture($("map"), map.picture, "magma", map.cell, "#ffffff", map.step);
  $("map-caption").textContent = `Probability, from 0 (black) to 1, that a subhalo is within ${+map.radius.toPrecision(2)}″`;
}

function drawSaliency() {
  if (!explained) return;
  drawPicture($("saliency"), explained.picture, "diverging", shown.pixel_scale, "#000000");
  $("saliency-caption").textContent = `What each pixel adds to “${explained.label}” (violet) or takes from it (brown), to ±${explained.limit.toPrecision(2)} logits, at 0°`;
}

// What the page does

async function open() {
  if (!file) return;
  const mine = ++asked;
  tell("");
  $("result").hidden = true;
  if (file.size > limits.max_bytes) {
    tell(`${file.name} has ${mebibytes(file.size)} MiB; at most ${mebibytes(limits.max_bytes)} are taken`);
    return;
  }
  $("busy").hidden = false;
  const query = new URLSearchParams({ name: file.name, weights: $("weights").value,
    hdu: $("hdu").value, pixel_scale: $("scale").value,
    resample: $("resample").checked ? "yes" : "" });
  try {
    const answer = await call(`/api/image?${query}`, file);
    if (mine !== asked) return;
    begin(answer);
    const found = await call(`/api/image/${shown.token}/saliency`);
    if (mine !== asked) return;
    explained = found;
    drawSaliency();
  } catch (error) {
    if (mine === asked) tell(error.message);
  } finally {
    if (mine === asked) $("busy").hidden = true;
  }
}

function begin(answer) {
  shown = answer;
  seen = new Map();
  explained = null;
  wanted = null;
  $("result").hidden = false;
  $("map-place").hidden = !answer.map; // before the others are drawn beside it
  $("name").textContent = answer.name;
  const scale = answer.pixel_scale ? `${+answer.pixel_scale.toPrecision(4)}″ per pixel` : "pixel scale unknown";
  const side = answer.picture.width;
  $("facts").textContent = `${answer.size[1]} × ${answer.size[0]} pixels, of which the network takes ${side} × ${side}; ${scale}; ${answer.weights}` + (answer.score === null ? "" : `; distance from the training images ${answer.score.toFixed(2)} (1: as far as almost all of them)`);
  $("warning").hidden = !answer.notes.length;
  $("notes").replaceChildren(...answer.notes.map((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    return item;
  }));
  for (const form of ["csv", "json"]) $(form).href = `/api/image/${answer.token}/numbers.${form}`;
  $("angle").value = 0;
  $("degrees").textContent = "0°";
  const empty = prepared($("saliency"), 1)[0];
  empty.fillStyle = style("--field");
  empty.fillRect(0, 0, 4000, 4000);
  $("saliency-caption").textContent = "What each pixel adds to the answer: being computed …";
  drawAnswer(answer);
}

let wanted = null, turning = false; // one call at a time, for the latest angle

async function turn() {
  if (turning) return;
  turning = true;
  while (wanted !== null) {
    const [degrees, token] = [wanted, shown.token];
    wanted = null;
    try {
      const answer = await call(`/api/image/${token}/turn?degrees=${degrees}`);
      if (token === shown.token) {
        answer.angle = degrees;
        drawAnswer(answer);
        tell("");
      }
    } catch (error) {
      tell(error.message);
    }
  }
  turning = false;
}

async function start() {
  try {
    limits = await call("/api/info");
  } catch (error) {
    tell(error.message);
    return;
  }
  $("weights").replaceChildren(...limits.weights.map((name) => new Option(name, name)));
  $("formats").textContent = `${limits.formats.join(" ")}, up to ${mebibytes(limits.max_bytes)} MiB`;
  $("file").accept = limits.formats.join(",");
}

const take = (files) => { if (files.length) { file = files[0]; open(); } };
$("file").addEventListener("change", () => { take($("file").files); $("file").value = ""; });
for (const id of ["weights", "scale", "hdu", "resample"]) $(id).addEventListener("change", open);
$("angle").addEventListener("input", () => {
  wanted = Number($("angle").value);
  $("degrees").textContent = `${wanted}°`;
  turn();
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // a browser would show the file in place of the page
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}
window.addEventListener("resize", () => {
  if (current && !$("result").hidden) { drawAnswer(current); drawSaliency(); }
});
start();
