import pytest

from happyhorse.prompts.languages import LANGUAGES, NAMES, guess, language_named, languages_in, possible, spaced


def test_seven_languages_by_name_code_and_what_they_are_called():
    assert NAMES == ("English", "Mandarin", "Cantonese", "Japanese", "Korean", "German", "French")
    for language in LANGUAGES:
        for word in (language.name, language.name.upper(), language.code, *language.also):
            assert language_named(word) == language
    assert language_named("Chinese") == language_named("zh-CN") == language_named("zh_TW")
    assert language_named("fr-CA") == language_named(" french ")
    assert language_named("zh-HK") == language_named("yue")
    assert language_named("Klingon") is None
    assert language_named("") is None


def test_languages_are_found_where_a_text_mentions_them():
    assert languages_in("the Cantonese words, then in french") == ["Cantonese", "French"]
    assert languages_in("她用粵語说") == ["Cantonese"]
    assert languages_in("Mandarin Chinese") == ["Mandarin"]
    assert languages_in("Germany, and a code like en or de") == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("ありがとう", "Japanese"),
        ("馬が好き", "Japanese"),
        ("ﾗｰﾒﾝ", "Japanese"),
        ("큰 개", "Korean"),
        ("你好", "Mandarin"),
        ("Straße", "German"),
        ("scho\u0308n", "German"),
        ("ça va", "French"),
        ("hello", "English"),
        ("2026", "English"),
    ],
)
def test_script_tells_a_language(text, language):
    assert guess(text) == language
    assert possible(text)[0] == language


def test_what_was_told_wins_over_the_script():
    assert guess("你好", told="Cantonese") == "Cantonese"
    assert guess("你好", told="yue") == "Cantonese"
    assert guess("hola", told="Spanish") == "Spanish"
    assert possible("你好") == ("Mandarin", "Cantonese", "Japanese")
    assert possible("ありがとう") == ("Japanese",)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("Mandarin", "你好朋友", "你 好 朋 友"),
        ("Mandarin", "还带着，比如说你。", "还 带 着，比 如 说 你。"),
        ("Mandarin", "我在NASA上班", "我 在 NASA 上 班"),
        ("Mandarin", "2026年12月", "2026 年 12 月"),
        ("Mandarin", "你好 ， 朋友 ！", "你 好，朋 友！"),
        ("Mandarin", "你好, OK?", "你 好, OK?"),
        ("Cantonese", "多謝你", "多 謝 你"),
        ("Japanese", "ラーメンを3つ", "ラ ー メ ン を 3 つ"),
        ("Japanese", "か\u3099\u4e00", "が 一"),
        ("Japanese", "辻\U000e0100さん", "辻\U000e0100 さ ん"),
        ("Japanese", "「はい」と言う", "「は い」と 言 う"),
        ("Korean", "나비번알아.", "나 비 번 알 아."),
        ("Korean", "큰 개", "큰 개"),
        ("Korean", "\u1112\u1161\u11ab\u1100\u1173\u11af", "한 글"),
        ("English", "two  spaces 你好", "two  spaces 你好"),
        ("French", "ça va", "ça va"),
        ("Spanish", "¿qué tal?", "¿qué tal?"),
        ("Japanese", "", ""),
    ],
)
def test_lines_are_spaced_and_spacing_twice_changes_nothing(language, text, expected):
    assert spaced(text, language) == expected
    assert spaced(expected, language) == expected
