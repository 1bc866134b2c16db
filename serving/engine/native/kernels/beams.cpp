// serving/engine/beam_search.py and constraints.py in native code, with the same bits: that is where to read what is done and why.
//
// One object is the search of one request. It is asked through the functions at the end; what they point to is the caller's.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <new>
#include <unordered_map>
#include <vector>

extern "C" {

// GenerationParameters, and what the search of a request is told besides.
struct DqBeamParameters {
  int64_t beams, count, max_new_tokens, min_new_tokens, early_stopping;  // early_stopping 2: never
  int64_t start, forced_bos, forced_eos;                                 // tokens; -1 is none
  int64_t ngram_size, source_ngram_size, return_scores;
  double length_penalty, repetition_penalty;
  const int64_t *ends, *source, *words, *word_lengths;  // words one after another
  int64_t end_count, source_length, word_count;
};

}  // extern "C"

namespace {

constexpr float kRuledOut = -1.0e9f;
constexpr int64_t kNoNumbers = -1, kNoMemory = -2;

using Tokens = std::vector<int64_t>;

struct Beam {
  Tokens ids, seen;  // seen: distinct, ascending
  float score;
  std::vector<double> log_probabilities;
};

struct Continuation {
  int64_t parent, token;
  float value, score;
  bool ends;
};

void insert(Tokens& ascending, int64_t token) {
  const auto place = std::lower_bound(ascending.begin(), ascending.end(), token);
  if (place == ascending.end() || *place != token) ascending.insert(place, token);
}

// The places of scores from the best on, equal ones in their order: the first so many.
template <typename Score>
std::vector<int64_t> ranked(int64_t size, int64_t most, const Score& score) {
  std::vector<int64_t> places(size);
  for (int64_t place = 0; place < size; ++place) places[place] = place;
  most = std::min(most, size);
  std::partial_sort(places.begin(), places.begin() + most, places.end(), [&](int64_t one, int64_t other) {
    const float first = score(one), second = score(other);
    return first != second ? first > second : one < other;
  });
  places.resize(most);
  return places;
}

// history.Ngrams, by a hash of the tokens before an n-gram's last; who looks up compares the tokens themselves.
class Ngrams {
 public:
  explicit Ngrams(int64_t size) : size_(size) {}

  void note(const Tokens& ids, int64_t length) {
    if (length < size_) return;
    Tokens& ends = ends_[hash(ids, length - 1)];
    if (ends.empty() || ends.back() != length - 1) ends.push_back(length - 1);
  }

  // Adds to `banned` what follows the end of `ids` where the same tokens stand in `among`.
  void add_followers(const Tokens& ids, const Tokens& among, Tokens& banned) const {
    const auto length = static_cast<int64_t>(ids.size()), before = size_ - 1;
    if (length < before) return;
    const auto found = ends_.find(hash(ids, length));
    if (found == ends_.end()) return;
    for (const int64_t end : found->second) {
      if (std::equal(ids.end() - before, ids.end(), among.begin() + end - before)) insert(banned, among[end]);
    }
  }

 private:
  // Of the tokens before place `end` that an n-gram has before its last.
  uint64_t hash(const Tokens& ids, int64_t end) const {
    uint64_t mixed = 0;
    for (int64_t place = end - (size_ - 1); place < end; ++place) {
      mixed = (mixed ^ static_cast<uint64_t>(ids[place] + 1)) * 0x9E3779B97F4A7C15u;
    }
    return mixed;
  }

  int64_t size_;
  std::unordered_map<uint64_t, Tokens> ends_;
};

class Search {
 public:
  explicit Search(const DqBeamParameters& given)
      : given_(given),
        ends_of_sequences_(given.ends, given.ends + given.end_count),
        source_(given.source, given.source + given.source_length),
        penalty_(static_cast<float>(given.repetition_penalty)),
        ngrams_(given.ngram_size),
        source_ngrams_(given.source_ngram_size) {
    if (given.source_ngram_size > 0) {
      for (int64_t length = 1; length <= given.source_length; ++length) source_ngrams_.note(source_, length);
    }
    const int64_t* word = given.words;
    for (int64_t each = 0; each < given.word_count; word += given.word_lengths[each++]) {
      add_word(Tokens(word, word + given.word_lengths[each]));
    }
    for (int64_t beam = 0; beam < given.beams; ++beam) {
      running_.push_back({{given.start}, {given.start}, beam == 0 ? 0.0f : kRuledOut, {}});
    }
    note();
  }

  int64_t rows() const { return rows_; }
  const std::vector<Beam>& running() const { return running_; }

  int64_t advance(const float* values, const int64_t* tokens, int64_t stride, int64_t* parents) {
    const int64_t generated = length(), forced_token = forced(generated - 1), width = forced_token < 0 ? given_.count : 1;
    for (int64_t row = 0; forced_token < 0 && row < rows_; ++row) {
      if (!(values[row * stride] < std::numeric_limits<float>::infinity())) return kNoNumbers;
    }
    const auto value_at = [&](int64_t place) {
      return forced_token < 0 ? values[std::min(place / width, rows_ - 1) * stride + place % width] : 0.0f;
    };
    sums_.resize(given_.beams * width);
    for (int64_t place = 0; place < given_.beams * width; ++place) sums_[place] = value_at(place) + running_[place / width].score;
    continuations_.clear();
    const int64_t considered = (1 + given_.end_count) * given_.beams;
    for (const int64_t place : ranked(given_.beams * width, considered, [&](int64_t each) { return sums_[each]; })) {
      const int64_t parent = place / width, row = std::min(parent, rows_ - 1);
      const int64_t token = forced_token < 0 ? tokens[row * stride + place % width] : forced_token;
      continuations_.push_back({parent, token, value_at(place), sums_[place], generated == given_.max_new_tokens || ends(token)});
    }
    const auto score_of = [&](int64_t place) {
      const Continuation& each = continuations_[place];
      return each.ends ? each.score + kRuledOut : each.score;
    };
    const auto size = static_cast<int64_t>(continuations_.size());
    const std::vector<int64_t> kept = ranked(size, given_.beams, score_of);
    end(generated);
    std::vector<Beam> running;
    running.reserve(kept.size());
    for (const int64_t place : kept) running.push_back(continued(continuations_[place], score_of(place)));
    running_.swap(running);
    note();
    const bool all_end = std::all_of(continuations_.begin(), continuations_.end(), [](const Continuation& each) { return each.ends; });
    if (all_end || !can_improve(generated)) return rows_ = 0;
    for (size_t place = 0; place < kept.size(); ++place) parents[place] = std::min(continuations_[kept[place]].parent, rows_ - 1);
    return rows_ = given_.beams;
  }

  // What is banned in each row; whether any row has bans of its own.
  bool bans(std::vector<Tokens>& banned) const {
    bool own = false;
    banned.assign(rows_, {});
    for (int64_t row = 0; row < rows_; ++row) {
      const Tokens& ids = running_[row].ids;
      if (given_.ngram_size > 0) ngrams_.add_followers(ids, ids, banned[row]);
      if (given_.source_ngram_size > 0) source_ngrams_.add_followers(ids, source_, banned[row]);
      const auto words = words_.find(ids.back());
      for (size_t each = 0; words != words_.end() && each < words->second.size(); ++each) {
        const Tokens& word = words->second[each];
        const bool fits = word.size() - 1 <= ids.size() && std::equal(word.begin(), word.end() - 1, ids.end() - (word.size() - 1));
        if (fits) insert(banned[row], word.back());
      }
      own |= !banned[row].empty();
      for (const int64_t token : bad_tokens_) insert(banned[row], token);
      if (length() - 1 < given_.min_new_tokens) {
        for (const int64_t token : ends_of_sequences_) insert(banned[row], token);
      }
    }
    return own;
  }

  int64_t settled(int64_t* tokens) {
    std::vector<const Tokens*> rivals;
    if (!ended_.empty()) rivals.push_back(&ended_[0].ids);
    if (rows_ > 0 || rivals.empty()) {
      const size_t most = rows_ > 0 ? running_.size() : 1;
      for (size_t beam = 0; beam < most; ++beam) rivals.push_back(&running_[beam].ids);
    }
    const int64_t start = told_;
    const auto shared = [&](const Tokens* ids) {
      return told_ < static_cast<int64_t>(ids->size()) && (*ids)[told_] == (*rivals[0])[told_];
    };
    while (told_ < static_cast<int64_t>(rivals[0]->size()) && std::all_of(rivals.begin(), rivals.end(), shared)) ++told_;
    std::copy(rivals[0]->begin() + start, rivals[0]->begin() + told_, tokens);
    return told_ - start;
  }

  // The best sequences: ended ones, then those that have not ended.
  const Beam& best(int64_t place) const {
    const auto ended = static_cast<int64_t>(ended_.size());
    return place < ended ? ended_[place] : running_[place - ended];
  }

 private:
  int64_t length() const { return static_cast<int64_t>(running_[0].ids.size()); }

  bool ends(int64_t token) const {
    return std::find(ends_of_sequences_.begin(), ends_of_sequences_.end(), token) != ends_of_sequences_.end();
  }

  void add_word(const Tokens& word) {
    if (word.size() > 1) {
      words_[word[word.size() - 2]].push_back(word);
    } else if (!ends(word[0])) {
      insert(bad_tokens_, word[0]);
    }
  }

  int64_t forced(int64_t generated) const {
    if (generated == given_.max_new_tokens - 1 && given_.forced_eos >= 0) return given_.forced_eos;
    return generated == 0 ? given_.forced_bos : -1;
  }

  void note() {
    for (size_t beam = 0; given_.ngram_size > 0 && beam < running_.size(); ++beam) ngrams_.note(running_[beam].ids, length());
  }

  Beam continued(const Continuation& continuation, float score) const {
    const Beam& parent = running_[continuation.parent];
    Beam beam{{}, {}, score, {}};
    beam.ids.reserve(parent.ids.size() + 1);
    beam.ids = parent.ids;
    beam.ids.push_back(continuation.token);
    if (penalty_ != 1.0f) {
      beam.seen = parent.seen;
      insert(beam.seen, continuation.token);
    }
    if (given_.return_scores != 0) {
      const double value = continuation.value, penalty = penalty_;
      const bool edited = penalty_ != 1.0f && std::binary_search(parent.seen.begin(), parent.seen.end(), continuation.token);
      beam.log_probabilities = parent.log_probabilities;
      beam.log_probabilities.push_back(!edited ? value : value < 0 ? value / penalty : value * penalty);
    }
    return beam;
  }

  void end(int64_t generated) {
    const size_t before = ended_.size(), first = std::min<size_t>(given_.beams, continuations_.size());
    for (size_t place = 0; place < first; ++place) {
      const Continuation& each = continuations_[place];
      if (each.ends) ended_.push_back(continued(each, each.score / divisor(generated)));
    }
    if (ended_.size() == before) return;
    std::stable_sort(ended_.begin(), ended_.end(), [](const Beam& one, const Beam& other) { return one.score > other.score; });
    if (static_cast<int64_t>(ended_.size()) > given_.beams) ended_.erase(ended_.begin() + given_.beams, ended_.end());
  }

  bool can_improve(int64_t generated) const {
    const bool full = static_cast<int64_t>(ended_.size()) == given_.beams;
    if (full && given_.early_stopping == 1) return false;
    const bool longest = given_.early_stopping == 2 && given_.length_penalty > 0;
    const float best_running = running_[0].score / divisor(longest ? given_.max_new_tokens : generated);
    const float worst = ended_.empty() ? kRuledOut : ended_.back().score;
    return best_running > (full ? worst : std::min(worst, kRuledOut));
  }

  float divisor(int64_t length) const {
    return static_cast<float>(std::pow(static_cast<double>(length), given_.length_penalty));
  }

  DqBeamParameters given_;
  Tokens ends_of_sequences_, source_, bad_tokens_;
  std::map<int64_t, std::vector<Tokens>> words_;  // of several tokens, by the last but one
  float penalty_;
  Ngrams ngrams_, source_ngrams_;
  std::vector<Beam> running_, ended_;
  std::vector<Continuation> continuations_;
  std::vector<float> sums_;
  int64_t rows_ = 1, told_ = 1;
};

// No exception may leave a library that is called from C.
template <typename Work>
int64_t answer_of(const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // namespace

extern "C" {

Search* dq_beams_begin(const DqBeamParameters* parameters) {
  try {
    return new Search(*parameters);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void dq_beams_end(Search* search) { delete search; }

// Takes candidates [rows, stride], of which `count` are given, and writes the last token and the parent of each row of the next
// step: how many there are, or -1 where a value is no number.
int64_t dq_beams_advance(Search* search, const float* values, const int64_t* candidates, int64_t stride, int64_t* parents,
                         int64_t* tokens) {
  return answer_of([&] {
    const int64_t rows = search->advance(values, candidates, stride, parents);
    for (int64_t row = 0; row < rows; ++row) tokens[row] = search->running()[row].ids.back();
    return rows;
  });
}

// Writes the banned tokens of each row, up to `most` in all, and how many each has: how many in all; of these none is written when
// no row has bans of its own and `all` is 0.
int64_t dq_beams_banned(const Search* search, int64_t all, int64_t* counts, int64_t* tokens, int64_t most) {
  return answer_of([&]() -> int64_t {
    std::vector<Tokens> banned;
    if (!search->bans(banned) && all == 0) return 0;
    int64_t total = 0;
    for (size_t row = 0; row < banned.size(); ++row) {
      counts[row] = static_cast<int64_t>(banned[row].size());
      if (total + counts[row] <= most) std::copy(banned[row].begin(), banned[row].end(), tokens + total);
      total += counts[row];
    }
    return total;
  });
}

// The same of the tokens that each row has, which are penalized.
int64_t dq_beams_seen(const Search* search, int64_t* counts, int64_t* tokens, int64_t most) {
  int64_t total = 0;
  for (int64_t row = 0; row < search->rows(); ++row) {
    const Tokens& seen = search->running()[row].seen;
    counts[row] = static_cast<int64_t>(seen.size());
    if (total + counts[row] <= most) std::copy(seen.begin(), seen.end(), tokens + total);
    total += counts[row];
  }
  return total;
}

// Writes the tokens that are settled and were not told before: how many.
int64_t dq_beams_settled(Search* search, int64_t* tokens) {
  return answer_of([&] { return search->settled(tokens); });
}

// Writes the tokens of an answer, the log-probability of each if they are kept, and its score: how many tokens.
int64_t dq_beams_answer(const Search* search, int64_t place, int64_t* tokens, double* log_probabilities, double* score) {
  const Beam& beam = search->best(place);
  std::copy(beam.ids.begin() + 1, beam.ids.end(), tokens);
  std::copy(beam.log_probabilities.begin(), beam.log_probabilities.end(), log_probabilities);
  *score = beam.score;
  return static_cast<int64_t>(beam.ids.size()) - 1;
}

}  // extern "C"
