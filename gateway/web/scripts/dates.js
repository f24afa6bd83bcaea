// Dates in one form all over the page: ISO's, which the Swedish one is, in the reader's time zone.

export const day = (time) => new Date(time).toLocaleDateString("sv");
export const moment = (time) => new Date(time).toLocaleString("sv");
