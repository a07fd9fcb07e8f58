// What a search finds first: a chapter's page before the reference, and a title before a mention.
// What has a heading of its own in the guide is looked for there: every chapter says "install" in its set-up.
const isHowTo = (page, anchor) => page === "book/how_to_read" && Boolean(anchor);

var Scorer = {
    score: ([page, title, anchor, description, score]) =>
        page.startsWith("book/api/") ? score - 20 : score + 20 * (page.startsWith("notebooks/") || isHowTo(page, anchor)),
    objNameMatch: 11,
    objPartialMatch: 2,
    objPrio: { 0: 5, 1: 0, 2: -5 },
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
};
