using Bert4Rec.Data;
using Bert4Rec.Tests.Evaluation;

namespace Bert4Rec.Tests.Data;

public sealed class TrainingSequencesTests
{
    private static readonly int[] _eventsOfUser = [1, 2, 3, 4, 10, 13];

    [Fact]
    public void Prefixes_are_the_histories_of_the_training_samples()
    {
        var (dataset, split) = Data();
        var spans = Fill(TrainingSequences.Prefixes(dataset, split, 4), 0);
        Sample[] train = [.. split.Train.Samples()];
        Assert.Equal(train.Length, spans.Count);
        for (int i = 0; i < spans.Count; i++)
        {
            var events = dataset.EventItems.AsSpan(spans[i].Start, spans[i].Length);
            Assert.Equal(dataset.History(train[i], 4).ToArray(), events.ToArray());
        }
    }

    [Fact]
    public void Windows_cover_every_training_event_but_those_alone_at_an_end()
    {
        var (dataset, split) = Data();
        Sample[] train = [.. split.Train.Samples()];
        var windows = TrainingSequences.Windows(dataset, split, 4, seed: 7);
        for (int epoch = 0; epoch < 50; epoch++)
        {
            var spans = Fill(windows, epoch);
            Assert.All(spans, span => Assert.InRange(span.Length, 2, 4));
            Assert.True(spans.Count <= windows.MaximumCount);
            int[] covered = [.. spans.SelectMany(span => Enumerable.Range(span.Start, span.Length))];
            Assert.Equal(covered.Distinct().Order(), covered);
            for (int user = 1; user < dataset.UserCount; user++)
            {
                int start = dataset.UserOffsets[user];
                // The last training target belongs to training, what is held out does not.
                int end = train.Where(sample => sample.User == user).Select(sample => sample.Event + 1).DefaultIfEmpty(start).Max();
                int[] mine = [.. covered.Where(index => index >= start && index < dataset.UserOffsets[user + 1])];
                Assert.All(mine, index => Assert.True(index < end));
                if (end - start is >= 2 and <= 4)
                    Assert.Equal(Enumerable.Range(start, end - start), mine);
                int[] left = [.. Enumerable.Range(start, end - start).Except(mine)];
                Assert.All(left, index => Assert.True(index == start || index == end - 1));
            }
        }
    }

    /// <summary>Of a user's training events, the target of the last training sample included, each but the last is read once.</summary>
    [Fact]
    public void Every_training_event_but_the_last_predicts_the_next()
    {
        var (dataset, split) = Data();
        var windows = TrainingSequences.NextItemWindows(dataset, split, 4, seed: 7);
        int[] expected = [.. split.Train.Samples().GroupBy(sample => sample.User)
            .SelectMany(samples => Enumerable.Range(
                dataset.UserOffsets[samples.Key], samples.Max(sample => sample.Event) - dataset.UserOffsets[samples.Key]))];
        for (int epoch = 0; epoch < 50; epoch++)
        {
            var spans = Fill(windows, epoch);
            Assert.True(spans.Count <= windows.MaximumCount);
            Assert.All(spans, span => Assert.InRange(span.Length, 1, 4));
            Assert.Equal(expected, spans.SelectMany(span => Enumerable.Range(span.Start, span.Length)));
        }
    }

    [Fact]
    public void First_cuts_move_from_epoch_to_epoch_evenly_and_depend_on_the_seed()
    {
        var (dataset, split) = Data();
        int last = dataset.UserOffsets[6];
        int[] firstLengths = new int[5];
        var windows = TrainingSequences.Windows(dataset, split, 4, seed: 7);
        for (int epoch = 0; epoch < 4000; epoch++)
        {
            var first = Fill(windows, epoch).First(span => span.Start >= last);
            firstLengths[first.Start == last ? first.Length : 1]++;
        }
        // A cut at 0 gives a whole window: 1, 2, 3 and 4 are equally likely. 4000 draws: a standard deviation is 27.
        Assert.All(firstLengths[1..], count => Assert.InRange(count, 890, 1110));
        Assert.Equal(Fill(windows, 3), Fill(TrainingSequences.Windows(dataset, split, 4, seed: 7), 3));
        var other = TrainingSequences.Windows(dataset, split, 4, seed: 8);
        Assert.Contains(Enumerable.Range(0, 10), epoch => !Fill(windows, epoch).SequenceEqual(Fill(other, epoch)));
    }

    [Fact]
    public void Only_the_first_epoch_allocates()
    {
        var (dataset, split) = Data();
        foreach (var sequences in new[] { TrainingSequences.Windows(dataset, split, 4, 1), TrainingSequences.Prefixes(dataset, split, 4) })
        {
            var spans = Fill(sequences, 0);
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int epoch = 1; epoch < 100; epoch++)
                sequences.Fill(epoch, spans);
            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        }
    }

    private static List<SequenceSpan> Fill(TrainingSequences sequences, int epoch)
    {
        var spans = new List<SequenceSpan>();
        sequences.Fill(epoch, spans);
        return spans;
    }

    private static (InteractionDataset Dataset, DatasetSplit Split) Data()
    {
        var users = new Vocabulary();
        var items = new Vocabulary();
        var offsets = new List<int> { 0, 0 };
        foreach (int count in _eventsOfUser)
        {
            users.GetOrAdd($"u{count}");
            offsets.Add(offsets[^1] + count);
        }
        int[] events = [.. Enumerable.Range(0, offsets[^1]).Select(index => items.GetOrAdd($"i{index}"))];
        var dataset = new InteractionDataset(users, items, [.. offsets], events);
        var args = Bert4Rec.Configuration.RunConfig.Load([], []).EvalArgs;
        return (dataset, Splitter.Split(dataset, args));
    }
}
