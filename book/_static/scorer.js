// What a search finds first: a chapter's page before the reference, and a title before a mention.
var Scorer = {
    score: ([page, title, anchor, description, score]) =>
        page.startsWith("book/api/") ? score - 20 : score + 20 * page.startsWith("notebooks/") + 20 * Boolean(anchor),
    objNameMatch: 11,
    objPartialMatch: 2,
    objPrio: { 0: 5, 1: 0, 2: -5 },
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
};
