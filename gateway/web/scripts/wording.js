// Refusals in the page's words: what the interface says of its own fields and commands, said of what stands on the page.

const NAME = "Lower-case letters, digits, dots, dashes and underscores, the first a letter or a digit; at most 96.";
const WORDS = [
  [/^(variant )?name .*: only lower-case letters.*/, NAME],
  [/^String should have at least 1 character.*/, "Name a model."],
  [/^(.*) cannot be a public name\..*/, `$1 cannot be a public name. Check the model, or write one: ${NAME[0].toLowerCase()}${NAME.slice(1)}`],
  [/another `name`/, "another public name"],
  [/ as source_model\b/, " as the model"],
  [/use `ovchat convert`/, "take the tick from \u201cIt is OpenVINO IR already\u201d"],
  [/: `ovchat models import [^`]*`/, ", tick \u201cIt is OpenVINO IR already\u201d"],
  [/ask again with trust_remote_code: true \([^)]*\)/, "tick \u201cTrust the code that comes with the model\u201d and ask again"],
  [/^group_size\b/, "Group size"],
  [/(?<![\w./-])(group_size|backup_precision|scale_estimation|weight_format|source_model)(?![\w./-])/g, (name) => name.replace("_", " ")],
];

// The message begins with the interface's own name of the field, where the field alone is wrong.
export function said({ message, param }) {
  const text = param && message.startsWith(`${param}: `) ? message.slice(param.length + 2) : message;
  return WORDS.reduce((known, [words, better]) => known.replace(words, better), text);
}
