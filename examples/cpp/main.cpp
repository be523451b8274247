// Reads a picture of 8x8 pixels (plain PGM) from standard input and says which digit it shows.
//
// Without an argument the weights must be in the object; an argument names a file of weights.
#include "digits.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

int main(int argc, char **argv) {
  digits::Model model; // owns its arena
  if (argc == 2) {
    if (const onnxc::Status s = model.load_weights(argv[1]); !s) {
      std::fprintf(stderr, "%s: %s\n", argv[1], s.text());
      return 2;
    }
  }

  std::array<float, DIGITS_INPUT_0_COUNT> image;
  std::array<float, DIGITS_OUTPUT_0_COUNT> scores;
  int max = 0;
  if (std::scanf("P2 8 8 %d", &max) != 1 || max < 1) return 2;
  for (float &pixel : image) {
    int grey;
    if (std::scanf("%d", &grey) != 1) return 2;
    pixel = static_cast<float>(grey) / static_cast<float>(max);
  }

  // A status; where exceptions are on, `.or_throw()` makes one of it.
  if (const onnxc::Status s = model.run(image, scores); !s) {
    std::fprintf(stderr, "digits: %s\n", s.text());
    return 1;
  }
  const auto best = std::max_element(scores.begin(), scores.end());
  std::printf("%d (%.4f)\n", static_cast<int>(best - scores.begin()), static_cast<double>(*best));
}
