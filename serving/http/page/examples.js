// Something to click for each task. A translation is offered where the model has its languages.

const WOLF =
  "Once upon a time a poor woodcutter lived with his wife and his daughter at the edge of a great forest. One evening a wolf came " +
  "to the door. The daughter was afraid because the wolf had big teeth. Her father took his axe and drove the wolf back into the " +
  "forest.";
const WATER =
  "Once upon a time there lived a king who had three sons. One day the king fell ill, and no doctor could help him. Then an old " +
  "woman told the sons that only the water of life could make their father well. So the eldest son rode away to find it.";

export const EXAMPLES = {
  translation: [
    { name: "Guten Morgen", from: "de", to: "en", text: "Guten Morgen! Haben Sie gut geschlafen?" },
    { name: "Fahrrad", from: "de", to: "en", text: "Mein Bruder hat sein Fahrrad verkauft, weil er ein neues Auto haben will." },
    { name: "Coffee", from: "en", to: "de", text: "Would you like another cup of coffee?" },
    { name: "Letter", from: "de", to: "en", text:
      "Ich bin gestern in Berlin angekommen. Das Wetter ist schön, und das Hotel liegt in der Nähe des Bahnhofs. " +
      "Am Abend habe ich mit meinem Freund gegessen. Wir haben lange über die Schule gesprochen.\n\n" +
      "Morgen gehen wir ins Museum. Wann kommst du uns besuchen? Ich freue mich auf deine Antwort." },
  ],
  summarization: [
    { name: "Questions", text:
      "Question answering systems often give wrong answers to questions that have none. We propose a simple method that lets a " +
      "reading comprehension model say that it does not know. Experiments on SQuAD 2.0 show that it improves results over strong " +
      "baselines without any additional data." },
    { name: "Low-resource translation", text:
      "Neural machine translation needs large parallel corpora, which most of the world's languages do not have. In this paper we " +
      "study how monolingual data can help. We compare back-translation, denoising pretraining and multilingual training for five " +
      "African languages, and find that combining them gives the largest improvements. A human evaluation shows that translations " +
      "become more fluent, but that names and numbers remain a problem. We publish the test sets that we collected." },
  ],
  "question-answering": [
    { name: "Wolf", question: "Who came to the door?", passages: [WOLF] },
    { name: "Wolf, in two passages", question: "Who came to the door?", passages: [WOLF, WATER] },
    { name: "Anaemia", question: "What is iron-deficiency anemia?", passages: [
      "Iron-deficiency anemia is a common type of anemia that occurs if you do not have enough iron in your body. People with mild " +
      "or moderate iron-deficiency anemia may not have any signs or symptoms. More severe anemia may cause fatigue, shortness of " +
      "breath, or chest pain.",
    ] },
  ],
};
