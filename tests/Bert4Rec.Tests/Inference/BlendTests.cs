using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Tests.Evaluation;

namespace Bert4Rec.Tests.Inference;

/// <summary>The blend beside its formula, term by term.</summary>
public sealed class BlendTests
{
    [Theory]
    [InlineData(1, 0, 20)]
    [InlineData(2, 2.5f, 20)]
    [InlineData(3, 4, 1)]
    public void Transitions_are_counted_in_the_training_events(int seed, float shrinkage, int window)
    {
        var dataset = SmallDatasets.Random(seed, users: 40, itemCount: 12, longest: 45);
        var split = SmallDatasets.LeaveOneOut(dataset);
        var progress = new LastUpdate();
        var transitions = window == 1
            ? ItemTransitions.CountNext(dataset, split.Train, shrinkage, progress)
            : ItemTransitions.Count(dataset, split.Train, shrinkage, progress);
        int[][] histories = [.. TrainingHistories(dataset, split)];
        int events = histories.Sum(history => history.Length);
        Assert.Equal((events, events), (progress.Value.Done, progress.Value.Total));
        for (int a = 1; a < dataset.ItemCount; a++)
        {
            int occurrences = histories.Sum(history => history.Count(item => item == a));
            for (int b = 1; b < dataset.ItemCount; b++)
            {
                int following = 0;
                foreach (int[] history in histories)
                {
                    for (int i = 0; i < history.Length; i++)
                    {
                        if (history[i] == a)
                            following += history.Skip(i + 1).Take(window).Count(item => item == b);
                    }
                }
                int at = transitions.Followers(a).BinarySearch(b);
                Assert.Equal(following > 0, at >= 0);
                if (at >= 0)
                    Assert.Equal(following / (double)(occurrences + shrinkage), transitions.Shares(a)[at], 1e-6);
            }
        }
    }

    /// <summary>The most frequent ones of a hub, the lower id first where they are as frequent.</summary>
    [Fact]
    public void Only_so_many_followers_of_an_item_are_kept()
    {
        int[][] sequences = [.. Enumerable.Range(2, 100).Select(item => new[] { 1, item }), [1, 101], [1, 100]];
        var dataset = SmallDatasets.Of(102, sequences);
        var train = new TrainingSamples(
            [.. Enumerable.Range(1, sequences.Length).Select(user => new SampleRun(user, dataset.UserOffsets[user] + 1, 1))]);
        var transitions = ItemTransitions.Count(dataset, train, shrinkage: 0);
        Assert.Equal([.. Enumerable.Range(2, 62), 100, 101], transitions.Followers(1).ToArray());
        Assert.Equal(2f / sequences.Length, transitions.Shares(1)[^1]);
        var next = ItemTransitions.CountNext(dataset, train, shrinkage: 0);
        Assert.Equal([.. Enumerable.Range(2, 14), 100, 101], next.Followers(1).ToArray());
    }

    /// <summary>Cosines worked out by hand: "shop" is everybody's, "rare" one item's, the price no word, and a word of one column is not
    /// that of another.</summary>
    [Fact]
    public void Items_are_as_alike_as_the_words_they_share()
    {
        var dataset = new InteractionDataset(new(), SmallDatasets.Of(5).Items, [0, 0], [])
        {
            ItemFields = new ItemTable(
                [new("tags", AtomicType.TokenSequence), new("brand", AtomicType.Token), new("price", AtomicType.Number)],
                [
                    [null, "shop toy toy  red", "shop toy", "shop red rare", "shop"],
                    [null, "red a", "red a", "toy", null],
                    [null, "1", "1", "1", "1"],
                ]),
        };
        var similarity = ItemSimilarity.Of(dataset, ' ')!;
        // Two of four items have each of toy, red and the brand "red a": all weigh ln 2.
        double[,] cosines =
        {
            { 1, 2 / Math.Sqrt(6), 1 / Math.Sqrt(3), 0 },
            { 2 / Math.Sqrt(6), 1, 0, 0 },
            { 1 / Math.Sqrt(3), 0, 1, 0 },
            { 0, 0, 0, 0 },
        };
        for (int a = 1; a <= 4; a++)
        {
            var vector = new float[similarity.WordCount];
            similarity.AddTo(a, 1, vector);
            for (int b = 1; b <= 4; b++)
                Assert.Equal(cosines[a - 1, b - 1], similarity.Product(b, vector), 1e-6);
            similarity.Clear(a, vector);
            Assert.All(vector, value => Assert.Equal(0, value));
        }
        Assert.Null(ItemSimilarity.Of(SmallDatasets.Of(5), ' '));
    }

    [Fact]
    public void Weights_for_fields_need_items_with_fields()
    {
        var dataset = SmallDatasets.Random(3, users: 60, itemCount: 20, longest: 12);
        var error = Assert.Throws<InputException>(
            () => Blend.Of(new(1, 100, 0, 0, Similar: 2), dataset, RunConfig.Parse("", "config", [])));
        Assert.Contains("they have no field", error.Message);
    }

    [Fact]
    public void A_boost_is_that_of_the_formula()
    {
        var dataset = SmallDatasets.Random(3, users: 60, itemCount: 20, longest: 12);
        var split = SmallDatasets.LeaveOneOut(dataset);
        var weights = new BlendWeights(1.2f, 100, -0.5f, 3, 0.7f, ItemTransitions.Shrinkage, Next: 1.4f);
        var blend = Blend.Of(weights, dataset, split.Train, Pairs(dataset.ItemCount));
        var blended = new BlendedItems(blend, dataset.ItemCount);
        foreach (var sample in split.Test)
        {
            int[] history = dataset.History(sample, 10).ToArray();
            blended.Fill(history);
            for (int item = 1; item < dataset.ItemCount; item++)
            {
                double affinity = 0, similarity = 0;
                for (int lag = 1; lag <= Math.Min(20, history.Length); lag++)
                {
                    affinity += Share(blend.Transitions, history[^lag], item) / lag;
                    similarity += history[^lag] / 2 == item / 2 ? 1 / Math.Sqrt(lag) : 0;
                }
                int last = Array.LastIndexOf(history, item), ago = last < 0 ? 0 : history.Length - last;
                double expected = (1.2 * Math.Log(1 + (100 * affinity))) + (0.7 * similarity) + (last < 0 ? 0 : -0.5 + (3.0 / ago))
                    + (1.4 * Math.Log(1 + (10 * Share(blend.Next!, history[^1], item))));
                bool isBlended = blended.Items.BinarySearch(item) >= 0;
                Assert.Equal(affinity > 0 || last >= 0, isBlended);
                Assert.Equal(isBlended ? expected : 0, weights.Boost(blended.Terms(item)), 1e-4);
            }
        }

        static double Share(ItemTransitions transitions, int from, int to)
        {
            int at = transitions.Followers(from).BinarySearch(to);
            return at < 0 ? 0 : transitions.Shares(from)[at];
        }
    }

    /// <summary>What weights that do not count would need takes no memory.</summary>
    [Fact]
    public void A_blend_has_only_what_its_weights_want()
    {
        var dataset = SmallDatasets.Random(3, users: 60, itemCount: 20, longest: 12);
        var all = Blend.ToChoose(dataset, SmallDatasets.LeaveOneOut(dataset).Train, Pairs(dataset.ItemCount));
        Assert.Equal(BlendWeights.None, all.Weights);
        Assert.NotNull(all.Next);
        var few = all.With(new(1, 100, 0, 0));
        Assert.Null(few.Next);
        Assert.Null(few.Similarity);
        Assert.Same(all.Transitions, few.Transitions);
        var most = all.With(new(1, 100, 0, 0, Similar: 1, Next: 2));
        Assert.Same(all.Next, most.Next);
        Assert.Same(all.Similarity, most.Similarity);
    }

    /// <summary>A model that knows nothing, and targets that always follow: the transitions are worth a lot.</summary>
    [Fact]
    public void Weights_that_pay_are_found()
    {
        using var workers = new Workers(2);
        var choice = Choose([.. Samples(200, new() { Affinity = 1 })], workers);
        Assert.True(choice.Weights.Transition > 0);
        Assert.Equal(ItemTransitions.Shrinkage, choice.Weights.Shrinkage);
        Assert.Equal(0, choice.Weights.Similar);
        Assert.Equal(0, choice.Weights.Next);
        BlendSample[] alike = [.. Samples(200, new() { Affinity = 1e-9f, Similarity = 1 })];
        BlendSample[] next = [.. Samples(200, new() { Next = 0.5f })];
        Assert.True(Choose(alike, workers).Weights.Similar > 0);
        Assert.True(Choose(next, workers).Weights.Next > 0);
        Assert.Equal(200, choice.Samples);
        Assert.True(choice.With > choice.Without + 0.5, $"{choice}");
        Assert.True(choice.P < 0.05);
    }

    /// <summary>Of 200 targets, one is better off for being the very next: no more than chance.</summary>
    [Fact]
    public void The_very_next_item_counts_only_where_that_is_no_chance()
    {
        using var workers = new Workers(1);
        BlendSample[] samples = [.. Samples(199, new() { Affinity = 1 }), .. Samples(1, new() { Next = 0.5f })];
        var choice = Choose(samples, workers);
        Assert.True(choice.Weights.Transition > 0);
        Assert.Equal(0, choice.Weights.Next);
        double gain = samples.Average(sample => sample.Gain(choice.Weights));
        Assert.Equal(choice.With, gain, 1e-12);
        Assert.True(samples.Average(sample => sample.Gain(choice.Weights with { Next = 6 })) > gain);
    }

    [Fact]
    public void Weights_that_chance_alone_makes_better_are_not()
    {
        using var workers = new Workers(1);
        // Nor is a target that is left out, whatever is added to it.
        BlendSample[] leftOut = [.. Samples(200, new() { Affinity = 1 }).Select(sample => sample with { Target = BlendSample.LeftOut })];
        Assert.Equal(BlendWeights.None, Choose(leftOut, workers).Weights);
        var choice = Choose([.. Samples(30, new())], workers);
        Assert.Equal(BlendWeights.None, choice.Weights);
        Assert.Equal(choice.Without, choice.With);

        // Forty samples that agree are chance where they are of two customers.
        BlendSample[] ofTwo = [.. Samples(40, new() { Affinity = 1 })];
        int[] two = [.. Enumerable.Range(0, 40).Select(i => i / 20)];
        Assert.NotEqual(BlendWeights.None, Choose(ofTwo, workers).Weights);
        Assert.Equal(BlendWeights.None, BlendSearch.Choose(ofTwo, two, workers, "ndcg@10").Weights);
    }

    /// <summary>Each sample another customer's.</summary>
    private static BlendChoice Choose(BlendSample[] samples, Workers workers) =>
        BlendSearch.Choose(samples, [.. Enumerable.Range(0, samples.Length)], workers, "ndcg@10");

    /// <summary>Lists and ranks beside those of all scores, sorted.</summary>
    [Theory]
    [InlineData(1.2f, 100, -3, 2, false)]
    [InlineData(0.5f, 10, 2, 4, false)]
    [InlineData(0, 1, -8, 0, true)]
    [InlineData(2, 1000, 0.5f, 1, true)]
    public void A_ranking_is_that_of_the_sum(float transition, float scale, float seenWeight, float recent, bool excludeSeen)
    {
        const int k = 10;
        var dataset = SmallDatasets.Random(4, users: 90, itemCount: 150, longest: 14);
        var split = SmallDatasets.LeaveOneOut(dataset);
        var weights = new BlendWeights(transition, scale, seenWeight, recent, recent / 3, ItemTransitions.Shrinkage, recent / 2);
        var blend = Blend.Of(weights, dataset, split.Train, Pairs(dataset.ItemCount));
        var layout = new ParameterLayout(new ModelShape(dataset.ItemCount, 8, 16, 32, 1, 2, 1e-12f, 0, 0, Causal: true));
        using var devices = new DeviceSet("cpu", 2);
        using var parameters = devices.Kernels[0].AllocateFloats(layout.Length);
        parameters.Upload(ParameterInitializer.Draw(layout, 0.3, 1));
        using var ranker = new ModelRanker(devices.Kernels, devices.Workers, layout, parameters, recboleCompatible: false);
        Sample[] samples = split.Test;
        var seen = excludeSeen ? SeenItems.Of(dataset, samples) : null;
        int[] all = [.. Enumerable.Range(0, samples.Length * dataset.ItemCount).Select(i => i % dataset.ItemCount)];
        float[] scores = new float[all.Length], blended = new float[all.Length];
        ranker.Score(dataset, samples, all, scores);
        ranker.Use(blend);
        ranker.Score(dataset, samples, all, blended);
        var lists = new int[samples.Length * k];
        var ranks = new TargetRank[samples.Length];
        ranker.Rank(dataset, samples, k, lists, ranks, seen);
        Assert.Single(ranker.Unblended);
        var without = new TargetRank[samples.Length];
        ranker.Unblended.Single().Rank(dataset, samples, k, new int[lists.Length], without, seen);

        var items = new BlendedItems(blend, dataset.ItemCount);
        for (int i = 0; i < samples.Length; i++)
        {
            // The model sees eight events of it; the blend knows all.
            items.Fill(dataset.History(samples[i], int.MaxValue));
            var sum = new double[dataset.ItemCount];
            for (int item = 1; item < dataset.ItemCount; item++)
            {
                float boost = weights.Boost(items.Terms(item));
                sum[item] = scores[(i * dataset.ItemCount) + item] + boost;
                Assert.Equal(sum[item], blended[(i * dataset.ItemCount) + item], 1e-5);
            }
            int target = dataset.Target(samples[i]);
            int[] ranked = [.. Enumerable.Range(1, dataset.ItemCount - 1).Where(item => !(seen?.Contains(i, item) ?? false))];
            Assert.Equal(ranked.OrderByDescending(item => sum[item]).Take(k), lists[(i * k)..((i + 1) * k)]);
            Assert.Equal(ranked.Count(item => item != target && sum[item] > sum[target]), ranks[i].Position);
            int alone = ranked.Count(
                item => item != target && scores[(i * dataset.ItemCount) + item] > scores[(i * dataset.ItemCount) + target]);
            Assert.Equal(alone, without[i].Position);
        }
    }

    /// <summary>An item that only N makes a blended one has no A where N does not count: it is not blended then.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void The_search_weighs_what_is_delivered(float next)
    {
        // After 1, seventy-two items come twice within twenty, and 81 once, as the very next: 81 is not among the 64 followers.
        int[][] twice = [.. Enumerable.Range(2, 72).Chunk(18).Select(chunk => (int[])[1, 80, .. chunk])];
        int[][] sequences = [.. twice, .. twice, [1, 81]];
        var dataset = SmallDatasets.Of(90, sequences);
        var train = new TrainingSamples(
            [.. sequences.Select((sequence, i) => new SampleRun(i + 1, dataset.UserOffsets[i + 1] + sequence.Length - 1, 1))]);
        var rules = Blend.ToChoose(dataset, train, Pairs(dataset.ItemCount));
        var weights = new BlendWeights(1, 100, 0, 0, Similar: 2, ItemTransitions.Shrinkage, next);
        BlendedItems searched = new(rules, dataset.ItemCount), delivered = new(rules.With(weights), dataset.ItemCount);
        foreach (int[] history in new int[][] { [80, 1], [1], [1, 80] })
        {
            searched.Fill(history);
            delivered.Fill(history);
            for (int item = 1; item < dataset.ItemCount; item++)
                Assert.Equal(weights.Boost(delivered.Terms(item)), weights.Boost(searched.Terms(item)));
        }
        searched.Fill([80, 1]);
        Assert.True(searched.Terms(81) is { Affinity: 0, Lag: 0, Next: > 0, Similarity: > 0 });
    }

    /// <summary>Where no rank is asked for, fewer items are kept out of the others' list; the result is the same. A blended item whose
    /// boost is 0 stays in that list, though its score may be rounded otherwise there.</summary>
    [Theory]
    [InlineData(1, 1, -1, 3, 2)]
    [InlineData(40, 1, -1, 3, 2)]
    [InlineData(40, 0, 0, 0, 2)]
    [InlineData(40, 0.6f, 0, 0, 0)]
    [InlineData(40, 0, -8, 0, 1)]
    public void A_list_without_ranks_is_the_same(int rows, float transition, float seen, float recent, float next)
    {
        var dataset = SmallDatasets.Random(6, users: 120, itemCount: 900, longest: 12);
        var split = SmallDatasets.LeaveOneOut(dataset);
        var layout = new ParameterLayout(new ModelShape(dataset.ItemCount, 8, 16, 32, 1, 2, 1e-12f, 0, 0, Causal: true));
        using var devices = new DeviceSet("cpu", 1);
        using var parameters = devices.Kernels[0].AllocateFloats(layout.Length);
        parameters.Upload(ParameterInitializer.Draw(layout, 0.3, 1));
        using var predictor = new Predictor(devices.Kernels[0], layout, parameters, 1000, alwaysDropsOldest: false, quantizes: true);
        var blend = Blend.Of(new(transition, 100, seen, recent, Next: next), dataset, split.Train, similarity: null);
        var ranking = new BlendedRanking(blend, dataset.ItemCount);
        int[] targets = [.. split.Test.Take(rows).Select(dataset.Target)];
        for (int k = 1; k <= 30; k++)
        {
            int[] ranked = new int[rows * k], listed = new int[rows * k];
            float[] rankedScores = new float[rows * k], listedScores = new float[rows * k];
            predictor.Clear();
            ranking.Clear();
            for (int i = 0; i < rows; i++)
            {
                predictor.TryAdd(dataset.History(split.Test[i], 8));
                ranking.Add(dataset.History(split.Test[i], 8), [], targets[i]);
            }
            ranking.TopK(predictor, k, targets, ranked, rankedScores, new int[3 * rows]);
            ranking.Clear();
            for (int i = 0; i < rows; i++)
                ranking.Add(dataset.History(split.Test[i], 8), []);
            ranking.TopK(predictor, k, [], listed, listedScores, []);
            Assert.Equal(ranked, listed);
            Assert.All(rankedScores.Zip(listedScores), pair => Assert.Equal(pair.First, pair.Second, 1e-5f));
        }
    }

    [Fact]
    public void Weights_are_read_as_they_are_written()
    {
        var weights = new BlendWeights(1.2f, 1000, -0.5f, 1e-7f, 0.3f, 20, -4);
        Assert.Equal(weights, BlendWeights.Parse(weights.ToString(), "model"));
        Assert.Equal(weights with { Next = 0 }, BlendWeights.Parse("1.2 1000 -0.5 1E-07 0.3 20", "a model of before"));
        var first = weights with { Similar = 0, Shrinkage = 0, Next = 0 };
        Assert.Equal(first, BlendWeights.Parse("1.2 1000 -0.5 1E-07", "one of before that"));
        string[] wrongs =
        [
            "", "1 2 3", "1 2 3 4 5", "1 2 3 4 5 6 7 8", "1 2 3 4 5 -6 7", "1 2 3 NaN", "1 -2 3 4", "1 2 3 4 5 -6", "1 2 3 4 5 x",
            "1 2 3 4 ", "1 2 3 1e99", "1  2 3 4",
        ];
        foreach (string wrong in wrongs)
        {
            var error = Assert.Throws<InputException>(() => BlendWeights.Parse(wrong, "model"));
            Assert.Equal($"model: its blend is '{wrong}', not 4, 6 or 7 numbers; train again, or restore the file", error.Message);
        }
    }

    /// <summary>Items 2 and 3, 4 and 5 and so on are alike, and no others.</summary>
    private static ItemSimilarity Pairs(int itemCount)
    {
        int[] all = [.. Enumerable.Range(0, itemCount)];
        return new([.. all, itemCount], [.. all.Select(item => item / 2)], [.. all.Select(_ => 1f)], (itemCount / 2) + 1);
    }

    /// <summary>Ten others score higher than the target unless something is added to it.</summary>
    private static IEnumerable<BlendSample> Samples(int count, BlendTerms target)
    {
        var random = new Random(5);
        for (int i = 0; i < count; i++)
        {
            float[] others = [.. Enumerable.Range(0, 10).Select(_ => random.NextSingle()).OrderDescending()];
            yield return new(others, [-1, random.NextSingle() - 1], [target, new() { Affinity = 0.2f * random.NextSingle() }], 0);
        }
    }

    private static IEnumerable<int[]> TrainingHistories(InteractionDataset dataset, DatasetSplit split) =>
        split.Train.Samples().GroupBy(sample => sample.User).Select(
            samples => dataset.EventItems[dataset.UserOffsets[samples.Key]..(samples.Max(sample => sample.Event) + 1)]);

    private sealed class LastUpdate : IProgress<ProgressUpdate>
    {
        public ProgressUpdate Value { get; private set; }

        public void Report(ProgressUpdate value) => Value = value;
    }
}
