using Bert4Rec.Data;
using Bert4Rec.Distributed;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>What is ranked, where it is not the plain model.</summary>
[Flags]
internal enum Ranking
{
    Plain = 0,
    ExcludesSeen = 1,
    LeavesBlendOut = 2,
}

/// <summary>
/// A model that all ranks have, each ranking its part of the samples. Rank 0 hands each its part, and gathers what they find in the order
/// of the samples; the others do <see cref="RankForFirst"/> and <see cref="ScoreForFirst"/> when it tells them.
/// </summary>
internal sealed class SharedRanker(ProcessGroup ranks, IRanker local, Ranking kind) : IRanker
{
    public string Name => local.Name;

    public void Rank(
        InteractionDataset dataset, ReadOnlySpan<Sample> samples, int k, Span<int> topItems, Span<TargetRank> places, SeenItems? seen)
    {
        RankCommands.Tell(ranks, RankCommand.RankSamples, samples.Length, k, (int)(seen is null ? kind : kind | Ranking.ExcludesSeen));
        ranks.Broadcast<Sample>(samples.ToArray());
        int own = Part(samples.Length, 0).Count;
        RankPart(dataset, samples[..own], k, topItems[..(own * k)], places[..own], seen);
        for (int rank = 1; rank < ranks.Size; rank++)
        {
            var (first, count) = Part(samples.Length, rank);
            ranks.Exchange(ProcessGroup.Nobody, [], rank, topItems.Slice(first * k, count * k));
            ranks.Exchange(ProcessGroup.Nobody, [], rank, places.Slice(first, count));
        }
        ranks.IsAwaited = false;
    }

    public void Score(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        int width = candidates.Length / samples.Length;
        RankCommands.Tell(ranks, RankCommand.ScoreSamples, samples.Length, width, (int)kind);
        ranks.Broadcast<Sample>(samples.ToArray());
        for (int rank = 1; rank < ranks.Size; rank++)
        {
            var (first, count) = Part(samples.Length, rank);
            ranks.Exchange(rank, candidates.Slice(first * width, count * width), ProcessGroup.Nobody, []);
        }
        int own = Part(samples.Length, 0).Count;
        ScorePart(dataset, samples[..own], candidates[..(own * width)], scores[..(own * width)]);
        for (int rank = 1; rank < ranks.Size; rank++)
        {
            var (first, count) = Part(samples.Length, rank);
            ranks.Exchange(ProcessGroup.Nobody, [], rank, scores.Slice(first * width, count * width));
        }
        ranks.IsAwaited = false;
    }

    /// <summary>Another rank's side of <see cref="Rank"/>, for so many samples of all ranks.</summary>
    public void RankForFirst(InteractionDataset dataset, int count, int k)
    {
        var samples = ReceiveSamples(count);
        var topItems = new int[samples.Length * k];
        var places = new TargetRank[samples.Length];
        var seen = kind.HasFlag(Ranking.ExcludesSeen) ? SeenItems.Of(dataset, samples) : null;
        RankPart(dataset, samples, k, topItems, places, seen);
        ranks.Exchange<int>(0, topItems, ProcessGroup.Nobody, []);
        ranks.Exchange<TargetRank>(0, places, ProcessGroup.Nobody, []);
    }

    /// <summary>Another rank's side of <see cref="Score"/>, for so many samples of all ranks, and candidates of each.</summary>
    public void ScoreForFirst(InteractionDataset dataset, int count, int width)
    {
        var samples = ReceiveSamples(count);
        var candidates = new int[samples.Length * width];
        var scores = new float[samples.Length * width];
        ranks.Exchange<int>(ProcessGroup.Nobody, [], 0, candidates);
        ScorePart(dataset, samples, candidates, scores);
        ranks.Exchange<float>(0, scores, ProcessGroup.Nobody, []);
    }

    /// <summary>Of so many samples, those that a rank ranks.</summary>
    private (int First, int Count) Part(int samples, int rank) => SampledCatalogue.Part(samples, rank, ranks.Size);

    /// <summary>This rank's part of so many.</summary>
    private ReadOnlySpan<Sample> ReceiveSamples(int count)
    {
        var samples = new Sample[count];
        ranks.Broadcast<Sample>(samples);
        var (first, own) = Part(count, ranks.Rank);
        return samples.AsSpan(first, own);
    }

    private void RankPart(
        InteractionDataset dataset, ReadOnlySpan<Sample> samples, int k, Span<int> topItems, Span<TargetRank> places, SeenItems? seen)
    {
        try
        {
            local.Rank(dataset, samples, k, topItems, places, seen);
        }
        catch (InputException e) when (RankCommands.EndsOnAll(e))
        {
            Agree(e);
        }
        Agree(null);
    }

    private void ScorePart(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        try
        {
            local.Score(dataset, samples, candidates, scores);
        }
        catch (InputException e) when (RankCommands.EndsOnAll(e))
        {
            Agree(e);
        }
        Agree(null);
    }

    /// <summary>What fails on one rank fails on all.</summary>
    private void Agree(InputException? failure)
    {
        if (!ranks.Any(failure is not null))
            return;
        ranks.IsAwaited = false;
        throw failure ?? ModelRanker.NotFinite();
    }
}
