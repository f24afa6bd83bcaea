// Questions to begin with, in the language that a model speaks.

const EXAMPLES = {
  en: [
    "Explain what a hash table is to a ten-year-old.",
    "Write a polite e-mail that moves a meeting to Thursday.",
    "Give me a Python function that counts the words of a text.",
    "Which three habits help most against a cluttered inbox?",
  ],
  zh: [
    "请用一个生活中的例子解释什么是递归。",
    "帮我写一封请假半天的邮件，语气礼貌简短。",
    "用 Python 写一个判断回文字符串的函数。",
    "周末在家做什么菜既简单又健康？",
  ],
  ja: [
    "量子コンピュータを中学生にもわかるように説明してください。",
    "会議の日程変更をお願いする丁寧なメールを書いてください。",
    "Python で素数を一覧にする関数を書いてください。",
    "在宅勤務で集中力を保つコツを三つ教えてください。",
  ],
};

export const LANGUAGE_NAMES = { en: "English", zh: "Chinese · 中文", ja: "Japanese · 日本語" };

export function examplesFor(language) {
  return EXAMPLES[language] ?? EXAMPLES.en;
}
