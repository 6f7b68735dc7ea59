using Bert4Rec.Configuration;
using Bert4Rec.Kernels;

namespace Bert4Rec.Data;

/// <summary>Consecutive events of one user: <see cref="InteractionDataset.EventItems"/> from Start on.</summary>
internal readonly record struct SequenceSpan(int Start, int Length);

/// <summary>Whose sequences an epoch takes: of some users all, of the others as many as a share, drawn anew for each epoch.</summary>
/// <param name="Always">[users] whether a user's are in every epoch.</param>
/// <param name="Share">Of the others, the probability to be in one.</param>
internal sealed record Replay(bool[] Always, double Share, ulong Seed)
{
    // Keeps these draws apart from those of the windows.
    private const uint Stream = 0x5245504C;

    internal bool Takes(int user, int epoch) =>
        Always[user] || Philox.ToUnit(Philox.Block((uint)user, (uint)epoch, Stream, 0, Seed).X) < Share;
}

/// <summary>What an epoch trains on. After the first epoch, filling a list allocates nothing.</summary>
internal abstract class TrainingSequences
{
    /// <summary>Whose sequences an epoch takes; null for everybody's.</summary>
    public Replay? Replay { get; set; }

    /// <summary>No epoch has more sequences than this.</summary>
    public abstract int MaximumCount { get; }

    /// <summary>What the config's way of training makes of the training samples.</summary>
    public static TrainingSequences Of(RunConfig config, InteractionDataset dataset, DatasetSplit split) =>
        config.RecboleCompatible
            ? Prefixes(dataset, split, config.MaximumItemListLength)
            : config.Objective == Objective.NextItem
                ? NextItemWindows(dataset, split, config.MaximumItemListLength, config.Seed)
                : Windows(dataset, split, config.MaximumItemListLength, config.Seed);

    /// <summary>RecBole's way: the history of every training sample, its target left out. The same in every epoch.</summary>
    public static TrainingSequences Prefixes(InteractionDataset dataset, DatasetSplit split, int maximumLength) =>
        new PrefixSequences(dataset, split, maximumLength);

    /// <summary>
    /// Our way: a user's training events, the target of the last training sample included, cut into windows of
    /// <paramref name="maximumLength"/>. Where a user has more events than that, the first cut is drawn anew for each epoch, so that over
    /// the epochs events meet different neighbours. Where there are fewer, every other epoch or so takes only the first few, so that over
    /// the epochs each event has been the last one. A window of a single event is left out: nothing is around it to guess it from.
    /// </summary>
    public static TrainingSequences Windows(InteractionDataset dataset, DatasetSplit split, int maximumLength, int seed) =>
        new WindowSequences(dataset, split, maximumLength, (ulong)seed, isCloze: true);

    /// <summary>
    /// Our way where each event predicts the next: all training events of a user but the last, which has none to predict, cut into windows
    /// as by <see cref="Windows"/>, but never shortened: in a whole window every event is the last one to itself already.
    /// </summary>
    public static TrainingSequences NextItemWindows(InteractionDataset dataset, DatasetSplit split, int maximumLength, int seed) =>
        new WindowSequences(dataset, split, maximumLength, (ulong)seed, isCloze: false);

    /// <summary>Replaces what the list has by an epoch's sequences, user by user in time order.</summary>
    public void Fill(int epoch, List<SequenceSpan> sequences)
    {
        sequences.Clear();
        sequences.EnsureCapacity(MaximumCount);
        Append(epoch, sequences);
    }

    private protected abstract void Append(int epoch, List<SequenceSpan> sequences);

    private bool Takes(int user, int epoch) => Replay is null || Replay.Takes(user, epoch);

    private sealed class PrefixSequences(InteractionDataset dataset, DatasetSplit split, int maximumLength) : TrainingSequences
    {
        public override int MaximumCount => split.Train.Length;

        private protected override void Append(int epoch, List<SequenceSpan> sequences)
        {
            foreach (var run in split.Train.Runs)
            {
                if (!Takes(run.User, epoch))
                    continue;
                for (int target = run.First; target < run.End; target++)
                {
                    int length = dataset.History(new(run.User, target), maximumLength).Length;
                    sequences.Add(new(target - length, length));
                }
            }
        }
    }

    private sealed class WindowSequences : TrainingSequences
    {
        // Keeps these draws apart from those of masks and dropout, whose streams count from 0.
        private const uint Stream = 0x57494E44;

        private readonly List<(int User, SequenceSpan Events)> _users = [];
        private readonly int _maximumLength;
        private readonly ulong _seed;
        private readonly bool _isCloze;

        /// <param name="maximumLength">Events of a window, at most.</param>
        /// <param name="isCloze">A window needs an event to mask and one to see; else the event after it is a target too.</param>
        public WindowSequences(InteractionDataset dataset, DatasetSplit split, int maximumLength, ulong seed, bool isCloze)
        {
            _isCloze = isCloze;
            _maximumLength = maximumLength;
            _seed = seed;
            foreach (var run in split.Train.Runs)
            {
                int start = dataset.UserOffsets[run.User];
                int length = run.End - (isCloze ? 0 : 1) - start;
                _users.Add((run.User, new SequenceSpan(start, length)));
                // A cut inside the first window makes one window more.
                MaximumCount += length <= maximumLength ? 1 : ((length + maximumLength - 2) / maximumLength) + 1;
            }
        }

        public override int MaximumCount { get; }

        private protected override void Append(int epoch, List<SequenceSpan> sequences)
        {
            int shortest = _isCloze ? 2 : 1;
            foreach (var (user, events) in _users)
            {
                if (!Takes(user, epoch))
                    continue;
                var (place, coin, _, _) = Philox.Block((uint)user, (uint)epoch, Stream, 0, _seed);
                int end = events.Start + events.Length;
                if (events.Length <= _maximumLength)
                {
                    bool isShorter = _isCloze && (coin & 1) != 0;
                    sequences.Add(isShorter ? events with { Length = 2 + Scale(place, events.Length - 1) } : events);
                    continue;
                }
                int cut = events.Start + Scale(place, _maximumLength);
                for (int start = events.Start; start < end; start = cut, cut = Math.Min(cut + _maximumLength, end))
                {
                    if (cut - start >= shortest)
                        sequences.Add(new SequenceSpan(start, cut - start));
                }
            }
        }

        /// <summary>Even over [0, bound).</summary>
        private static int Scale(uint word, int bound) => (int)((ulong)word * (ulong)bound >> 32);
    }
}
