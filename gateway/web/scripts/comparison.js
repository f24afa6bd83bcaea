// A model's variants side by side: what each costs and how near it comes to FP16, as figures and as bars.

import { choose } from "./dialogs.js";
import { make } from "./elements.js";
import { megabytes } from "./models.js";
import { table } from "./table.js";

const SVG = "http://www.w3.org/2000/svg";
const BAR_HEIGHT = 14;
const ROW_HEIGHT = 22;
const BAR_LEFT = 30; // percent of the width
const BAR_WIDTH = 48;
const FIGURES = ["Size", "Same token", "Divergence", "Perplexity", "Loads in", "Tokens/s"];

const PLOTS = [
  { title: "Size of the weights", value: (record) => record.weights_bytes, text: megabytes },
  { title: "Same next token as FP16", value: ({ quality }) => quality?.top1_agreement, text: (value) => percent(value) },
  { title: "Divergence from FP16 (KL, nats)", value: ({ quality }) => quality?.kl_divergence, text: (value) => value.toFixed(4) },
  { title: "Tokens per second, one chat", value: ({ quality }) => quality?.tokens_per_second, text: (value) => value.toFixed(0) },
];

const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

// How often one variant finds the same next token as FP16; where that is not known, what else there is to see.
export const qualityText = ({ quality }) => (quality ? percent(quality.top1_agreement) : "Compare");

function drawn(name, attributes, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

// Drawn in percent of the width, so that it fits where it stands. The table says the same to those who do not see it.
function plot({ title, value, text }, records) {
  const values = records.map((record) => value(record) ?? null);
  const largest = Math.max(0, ...values);
  const svg = drawn("svg", { class: "bars", width: "100%", height: ROW_HEIGHT * records.length, "aria-hidden": "true" });
  records.forEach((record, place) => {
    const top = place * ROW_HEIGHT;
    const share = largest > 0 && values[place] !== null ? values[place] / largest : 0;
    const baseline = top + BAR_HEIGHT - 2;
    svg.append(
      drawn("text", { x: 0, y: baseline }, record.variant),
      drawn("rect", { x: `${BAR_LEFT}%`, y: top, width: `${BAR_WIDTH * share}%`, height: BAR_HEIGHT, rx: 2 }),
      drawn("text", { x: `${BAR_LEFT + BAR_WIDTH * share + 1.5}%`, y: baseline }, values[place] === null ? "–" : text(values[place])),
    );
  });
  return make("figure", { class: "plot" }, make("figcaption", { text: title }), svg);
}

function figuresOf(record) {
  const { quality } = record;
  const figures = quality
    ? [percent(quality.top1_agreement), quality.kl_divergence.toFixed(4), `${quality.perplexity_ratio.toFixed(3)}×`, `${quality.load_seconds.toFixed(1)} s`, quality.tokens_per_second.toFixed(0)]
    : ["–", "–", "–", "–", "–"];
  return [megabytes(record.weights_bytes), ...figures];
}

// A column for each variant, of which there are a few.
function figures(model, records) {
  const columns = records.map(figuresOf);
  const rows = FIGURES.map((name, place) => [name, ...columns.map((column) => column[place])]);
  return table(`Variants of ${model}`, ["Variant", ...records.map(({ variant }) => variant)], rows);
}

// Shows them in a dialog; `records` are the published variants of one model.
export function compareVariants(model, records) {
  const card = records.find(({ quality }) => quality)?.quality;
  const text = card
    ? `Against FP16 on ${card.tokens} tokens of fixed texts; perplexity is divided by that of FP16. Times are those of ${card.processor || "the converter's CPU"}, ${card.threads} threads, with one chat.`
    : "Nothing is measured yet: that is done in the background when nothing is converted, and needs an FP16 variant of the same source or one that the conversion left for it.";
  const problems = records
    .filter(({ quality, quality_problem }) => !quality && quality_problem)
    .map(({ variant, quality_problem }) => make("p", { class: "hint", text: `${variant}: ${quality_problem}` }));
  const shown = PLOTS.filter(({ value }) => records.some((record) => (value(record) ?? null) !== null));
  return choose({
    title: `Variants of ${model}`,
    text,
    reading: true,
    body: [figures(model, records), ...problems, ...shown.map((one) => plot(one, records))],
    choices: [{ value: "done", label: "Close" }],
  });
}
