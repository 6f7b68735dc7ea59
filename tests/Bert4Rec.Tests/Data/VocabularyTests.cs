using System.Text;
using Bert4Rec.Data;

namespace Bert4Rec.Tests.Data;

public sealed class VocabularyTests
{
    [Fact]
    public void Tokens_have_ids_in_order_of_their_first_appearance()
    {
        var random = new Random(4);
        var expected = new Dictionary<string, int>();
        var vocabulary = new Vocabulary();
        for (int i = 0; i < 30_000; i++)
        {
            string token = Token(random);
            if (!expected.TryGetValue(token, out int id))
                expected.Add(token, id = expected.Count + 1);
            Assert.Equal(id, random.Next(2) == 0 ? vocabulary.GetOrAdd(token) : vocabulary.GetOrAdd(Encoding.UTF8.GetBytes(token)));
        }
        Assert.Equal(expected.Count + 1, vocabulary.Count);
        foreach (var (token, id) in expected)
        {
            Assert.Equal(token, vocabulary[id]);
            Assert.True(vocabulary.TryGetId(token, out int found));
            Assert.Equal(id, found);
        }
        Assert.Equal(Vocabulary.Padding, vocabulary[0]);
        Assert.False(vocabulary.TryGetId("none", out _));
        Assert.Throws<ArgumentOutOfRangeException>(() => vocabulary[vocabulary.Count]);

        var again = new Vocabulary(vocabulary.Text.ToArray(), vocabulary.Ends.ToArray());
        Assert.Equal(Tokens(vocabulary), Tokens(again));
        Assert.Equal(vocabulary.Count, again.GetOrAdd("none"));

        static string[] Tokens(Vocabulary vocabulary) => [.. Enumerable.Range(0, vocabulary.Count).Select(id => vocabulary[id])];

        static string Token(Random random) => random.Next(40) switch
        {
            0 => new string('ж', random.Next(200)),
            1 => Vocabulary.Padding,
            2 => $"😀{random.Next(100)}",
            _ => $"{random.Next(20_000)}",
        };
    }

    [Fact]
    public void Half_a_character_is_in_no_token()
    {
        var vocabulary = new Vocabulary();
        vocabulary.GetOrAdd("\uFFFD");
        Assert.False(vocabulary.TryGetId("\uD83D", out _));
        Assert.Throws<ArgumentException>(() => vocabulary.GetOrAdd("a\uDE00"));
        Assert.Equal(2, vocabulary.Count);
    }

    [Fact]
    public void What_is_no_vocabulary_is_refused()
    {
        Assert.Equal("b", new Vocabulary("[PAD]ab"u8.ToArray(), [5, 6, 7])[2]);
        foreach (var (text, ends) in new (string, int[])[]
        {
            ("", []), ("[PAD]ab", []), ("[PAD]ab", [5, 6]), ("[PAD]ab", [5, 6, 8]), ("[PAD]ab", [4, 6, 7]), ("[PAD]aa", [5, 6, 7]),
            ("[pad]ab", [5, 6, 7]), ("[PAD]ab", [5, 7, 6, 7]), ("[PAD]ab", [5, int.MaxValue, 7]), ("[PAD]ab", [5, -1, 7]),
        })
            Assert.Throws<ArgumentException>(() => new Vocabulary(Encoding.UTF8.GetBytes(text), ends));
        Assert.Throws<ArgumentException>(() => new Vocabulary([.. "[PAD]"u8, 0xFF], [5, 6]));
    }
}
