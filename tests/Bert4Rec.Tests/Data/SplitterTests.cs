using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Tests.Evaluation;

namespace Bert4Rec.Tests.Data;

public sealed class SplitterTests
{
    // Samples of a user with n events: n - 1. Counts are (train, valid, test).
    [Theory]
    [InlineData(1, 0, 0, 0)]
    [InlineData(2, 1, 0, 0)]
    [InlineData(3, 1, 0, 1)]
    [InlineData(4, 1, 1, 1)]
    [InlineData(9, 6, 1, 1)]
    public void Leave_one_out_tests_the_last_and_validates_the_one_before(int events, int train, int valid, int test) =>
        Check(events, new LeaveOneOut(true, true), train, valid, test);

    [Theory]
    [InlineData(2, 1, 0, 0)]
    [InlineData(3, 1, 1, 0)]
    [InlineData(6, 4, 1, 0)]
    public void Leave_one_out_may_only_validate(int events, int train, int valid, int test) =>
        Check(events, new LeaveOneOut(true, false), train, valid, test);

    [Theory]
    [InlineData(2, 1, 0, 0)]
    [InlineData(3, 1, 0, 1)]
    [InlineData(6, 4, 0, 1)]
    public void Leave_one_out_may_only_test(int events, int train, int valid, int test) =>
        Check(events, new LeaveOneOut(false, true), train, valid, test);

    // By hand from the rule: parts are rounded down; then, test before valid, a part of less than one sample takes one of training's,
    // while training has more than one.
    [Theory]
    [InlineData(1, 0, 0, 0)]
    [InlineData(2, 1, 0, 0)] // 1 sample: (1, 0, 0), training has no more than one.
    [InlineData(3, 1, 0, 1)] // 2: (2, 0, 0), test takes one, then training has only one.
    [InlineData(4, 1, 1, 1)] // 3: (3, 0, 0), test and valid take one each.
    [InlineData(6, 3, 1, 1)] // 5: 0.2 · 5 = 1 is no rounding case, 0.1 · 5 is.
    [InlineData(11, 7, 1, 2)] // 10: even.
    [InlineData(20, 15, 1, 3)] // 19: ⌊1.9⌋, ⌊3.8⌋.
    public void Ratio_7_1_2(int events, int train, int valid, int test) =>
        Check(events, new RatioSplit(0.7, 0.1, 0.2), train, valid, test);

    [Theory]
    [InlineData(6, 5, 0, 0)]
    [InlineData(2, 1, 0, 0)]
    public void A_share_of_nothing_takes_nothing(int events, int train, int valid, int test) =>
        Check(events, new RatioSplit(1, 0, 0), train, valid, test);

    /// <summary>A history grows by an event after the other, and a model is trained on what is for training each time.</summary>
    [Theory]
    [InlineData(8, 1, 1)]
    [InlineData(6, 2, 2)]
    [InlineData(1, 2, 1)]
    [InlineData(5, 1, 0)]
    [InlineData(0.34, 0.33, 0.33)]
    public void What_was_for_training_stays_so_in_a_dataset_that_has_grown(double train, double valid, double test)
    {
        double sum = train + valid + test;
        var rule = new RatioSplit(train / sum, valid / sum, test / sum);
        int trained = 0;
        bool moves = false;
        for (int events = 2; events < 200; events++)
        {
            DatasetSplit split = Of(hasGrown: true), plain = Of(hasGrown: false);
            Assert.Equal(plain.Test, split.Test);
            Assert.Equal(events - 1, split.Train.Length + split.Valid.Length + split.Test.Length);
            Assert.Equal(Math.Max(trained, plain.Train.Length), split.Train.Length);
            moves |= plain.Train.Length < trained;
            trained = split.Train.Length;

            DatasetSplit Of(bool hasGrown) => Splitter.Split(
                new(VocabularyOf("a"), VocabularyOf("x"), [0, 0, events], [.. Enumerable.Repeat(1, events)]) { HasGrown = hasGrown },
                new EvalArgs(rule, default, default));
        }
        // Where only one share is rounded nothing moves back.
        Assert.Equal(test > 0, moves);
    }

    private static Vocabulary VocabularyOf(string token)
    {
        var vocabulary = new Vocabulary();
        vocabulary.GetOrAdd(token);
        return vocabulary;
    }

    private static void Check(int events, SplitRule rule, int train, int valid, int test)
    {
        // The user in question between two others, so that what belongs to whom shows.
        int[] offsets = [0, 0, 2, 2 + events, 5 + events];
        var users = new Vocabulary();
        foreach (string user in new[] { "a", "b", "c" })
            users.GetOrAdd(user);
        var items = new Vocabulary();
        items.GetOrAdd("x");
        int[] eventItems = [.. Enumerable.Repeat(1, offsets[^1])];
        var dataset = new InteractionDataset(users, items, offsets, eventItems);
        var split = Splitter.Split(dataset, new EvalArgs(rule, default, default));

        Sample[] Mine(IEnumerable<Sample> samples) => [.. samples.Where(sample => sample.User == 2)];
        Assert.Equal((train, valid, test), (Mine(split.Train.Samples()).Length, Mine(split.Valid).Length, Mine(split.Test).Length));
        var inOrder = Mine(split.Train.Samples()).Concat(Mine(split.Valid)).Concat(Mine(split.Test)).Select(sample => sample.Event);
        Assert.Equal(Enumerable.Range(3, events - 1), inOrder);
    }
}
