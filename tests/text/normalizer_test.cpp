#include <nibble/text/normalizer.hpp>

#include <chrono>
#include <string>

#include "support/catch.hpp"

using namespace nibble::text;
using nlohmann::json;

TEST_CASE("the four normalization forms") {
  const std::string composed = "\xc3\xa9", decomposed = "e\xcc\x81";
  CHECK(normalize(decomposed, NormalizationForm::Nfc) == composed);
  CHECK(normalize(composed, NormalizationForm::Nfd) == decomposed);
  CHECK(normalize("\xef\xac\x81", NormalizationForm::Nfkc) == "fi");
  CHECK(normalize("\xef\xac\x81", NormalizationForm::Nfc) == "\xef\xac\x81");
  CHECK(normalize("\xc2\xbd", NormalizationForm::Nfkd) ==
        "1\xe2\x81\x84"
        "2");
  CHECK(normalize("\xe2\x84\xab", NormalizationForm::Nfc) == "\xc3\x85");  // angstrom sign
  CHECK(normalize("\xed\x95\x9c", NormalizationForm::Nfd) ==
        "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab");
  CHECK(normalize("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", NormalizationForm::Nfc) ==
        "\xed\x95\x9c");
  CHECK(normalize("\xe0\xa5\x98", NormalizationForm::Nfc) ==
        "\xe0\xa4\x95\xe0\xa4\xbc");                                                     // excluded
  CHECK(normalize("a\xcc\x81\xcc\xa3", NormalizationForm::Nfd) == "a\xcc\xa3\xcc\x81");  // order
  CHECK(normalize("plain\n", NormalizationForm::Nfkc) == "plain\n");
  CHECK(normalize(std::string("\0\xc3\xa9", 3), NormalizationForm::Nfd) ==
        std::string("\0e\xcc\x81", 4));
  CHECK(normalize("", NormalizationForm::Nfc).empty());
}

TEST_CASE("a long run of marks does not take the square of its length") {
  std::string text = "a";
  for (int i = 0; i < 500'000; ++i) text += i % 2 == 0 ? "\xcc\x81" : "\xcc\xa3";
  const auto start = std::chrono::steady_clock::now();
  const std::string normalized = normalize(text, NormalizationForm::Nfd);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
  CHECK(normalized.size() == text.size());
  CHECK(normalized.substr(0, 5) == "a\xcc\xa3\xcc\xa3");
}

TEST_CASE("normalizers are read, or refused by name") {
  std::string storage;
  const json both = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFD"}}, {{"type", "NFC"}}}}};
  CHECK(Normalizer::parse(&both, "test").apply("e\xcc\x81", storage) == "\xc3\xa9");
  const auto refuses = [](const json& value, const std::string& name) {
    CHECK_THROWS_WITH(Normalizer::parse(&value, "file: normalizer"),
                      Catch::Matchers::ContainsSubstring(name));
  };
  refuses({{"type", "Lowercase"}}, "\"Lowercase\" is not supported");
  refuses({{"type", "Sequence"}, {"normalizers", json::array({{{"type", "Prepend"}}})}},
          "\"Prepend\"");
  refuses({{"type", "Sequence"}, {"normalizers", json(17, {{"type", "NFC"}})}}, "more than 16");
  refuses("NFC", "expected an object");
}
