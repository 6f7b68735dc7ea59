using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Distributed;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Model;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>
/// A trainer and a ranker on this process's device. Under mpirun every process (rank) has one: rank 0 reads the data, decides and writes;
/// the others get the data from it and do what it commands (<see cref="Follow"/>). With one process nothing is sent.
/// </summary>
internal sealed class TrainingEngine : IDisposable
{
    private readonly ProcessGroup _ranks;
    private readonly DeviceSet _devices;
    private readonly InteractionDataset _dataset;
    private readonly TrainingSamples _train;
    private readonly ModelRanker _ranker;
    private readonly DeviceBuffer<float> _evaluated;

    /// <summary>On rank 0, tells the others to make theirs.</summary>
    /// <param name="config">The settings, with the seed that everything is drawn from.</param>
    /// <param name="replay">Whose sequences an epoch takes; of a single process.</param>
    public TrainingEngine(RunConfig config, InteractionDataset dataset, DatasetSplit split, RunOptions options, Replay? replay)
    {
        _ranks = options.Ranks;
        _dataset = dataset;
        _train = split.Train;
        _devices = new DeviceSet(options.Device, options.Threads, options.Precision, _ranks);
        if (_ranks is { Rank: 0, Size: > 1 })
            Send(_ranks, config, dataset, options);
        RequireEqualThreads();
        var sequences = TrainingSequences.Of(config, dataset, split);
        sequences.Replay = replay;
        Statistics = TrainingStatistics.Count(dataset, split.Train);
        Trainer = new Trainer(
            TrainerSettings.Of(config, dataset.ItemCount),
            dataset,
            sequences,
            _devices.Kernels,
            _devices.Workers,
            Statistics.EventCounts,
            _ranks);
        _evaluated = _devices.Kernels[0].AllocateFloats(Trainer.Layout.Length);
        _ranker = new ModelRanker(_devices.Kernels, _devices.Workers, Trainer.Layout, _evaluated, config.RecboleCompatible);
        EndCommand();
    }

    public Trainer Trainer { get; }

    /// <summary>Of the training part.</summary>
    public TrainingStatistics Statistics { get; }

    /// <summary>"cpu (512-bit vectors), 2 threads", with the ranks where there are several.</summary>
    public string DeviceText => _devices.Kernels[0].Name
        + $", {(_ranks.Size == 1 ? "" : $"{_ranks.Size} ranks of ")}{Printable.Count(Threads, "thread")}";

    /// <summary>Threads of this rank; 1 where a GPU computes.</summary>
    public int Threads => _devices.Kernels.Count;

    /// <inheritdoc cref="DeviceSet.Note"/>
    public string? DeviceNote => _devices.Note;

    /// <summary>The model with the parameters of <see cref="RankWith"/>: every rank ranks a part of the samples.</summary>
    public IRanker Ranker => Shared(_ranker, Ranking.Plain);

    /// <summary>The same without its blend; none where there is no blend.</summary>
    public IEnumerable<IRanker> Unblended => _ranker.Unblended.Select(ranker => Shared(ranker, Ranking.LeavesBlendOut));

    /// <summary>Rank 0 is done: ends <see cref="Follow"/> on the others.</summary>
    public static void Dismiss(ProcessGroup ranks) => RankCommands.Tell(ranks, RankCommand.Leave);

    /// <inheritdoc cref="Trainer.CompileKernels"/>
    public void CompileKernels(int epoch)
    {
        RankCommands.Tell(_ranks, RankCommand.CompileKernels, epoch, Trainer.Step);
        Trainer.CompileKernels(epoch);
        EndCommand();
    }

    /// <inheritdoc cref="Trainer.TrainEpoch"/>
    public (double Loss, long Tokens) TrainEpoch(int epoch, IProgress<ProgressUpdate>? progress, CancellationToken cancellation)
    {
        RankCommands.Tell(_ranks, RankCommand.TrainEpoch, epoch, Trainer.Step);
        try
        {
            return EndCommand(Trainer.TrainEpoch(epoch, progress, cancellation));
        }
        catch (Exception e) when (RankCommands.EndsOnAll(e))
        {
            EndCommand();
            throw;
        }
    }

    /// <inheritdoc cref="ShardedAdam.ReadMoments"/>
    public (float[] First, float[] Second) ReadMoments()
    {
        RankCommands.Tell(_ranks, RankCommand.ReadMoments);
        return EndCommand(Trainer.Optimizer.ReadMoments());
    }

    /// <inheritdoc cref="ShardedAdam.LoadMoments"/>
    public void LoadMoments(float[] first, float[] second)
    {
        RankCommands.Tell(_ranks, RankCommand.LoadMoments);
        Trainer.Optimizer.LoadMoments(first, second);
        EndCommand();
    }

    /// <summary>Ranks with these parameters from now on.</summary>
    public void RankWith(float[] parameters)
    {
        RankCommands.Tell(_ranks, RankCommand.RankWith);
        BroadcastParameters(parameters);
        EndCommand();
    }

    /// <summary>Ranks with a blend from now on.</summary>
    public void Use(Blend blend)
    {
        RankCommands.Tell(_ranks, RankCommand.Blend);
        _ranks.Broadcast<float>(blend.Weights.Numbers);
        if (blend.Similarity is { } similarity)
        {
            var (offsets, words, weights) = similarity.Arrays;
            _ranks.Broadcast<int>([words.Length, similarity.WordCount]);
            _ranks.Broadcast<int>(offsets);
            _ranks.Broadcast<int>(words);
            _ranks.Broadcast<float>(weights);
        }
        _ranker.Use(blend);
        EndCommand();
    }

    /// <summary>Nothing is ranked with the blend any more: its tables may go.</summary>
    public void ForgetBlend() => _ranker.Use(null);

    /// <inheritdoc cref="ModelRanker.ChooseBlend"/>
    public BlendChoice ChooseBlend(
        ReadOnlySpan<Sample> samples, Blend rules, int k, bool excludeSeen, IProgress<ProgressUpdate>? progress) =>
        _ranker.ChooseBlend(_dataset, samples, rules, k, excludeSeen, progress);

    public void Dispose()
    {
        if (_ranks.Rank == 0 && !_ranks.IsAwaited)
        {
            RankCommands.Tell(_ranks, RankCommand.End);
            EndCommand();
        }
        _ranker.Dispose();
        _evaluated.Dispose();
        Trainer.Dispose();
        _devices.Dispose();
    }

    private IRanker Shared(IRanker ranker, Ranking kind) => _ranks.Size == 1 ? ranker : new SharedRanker(_ranks, ranker, kind);

    /// <summary>All ranks have done what was commanded: none waits for another any more.</summary>
    private void EndCommand() => _ranks.IsAwaited = false;

    private T EndCommand<T>(T result)
    {
        EndCommand();
        return result;
    }

    private void RequireEqualThreads()
    {
        var threads = new int[_ranks.Size];
        _ranks.AllGather<int>([Threads], threads);
        var devices = new int[_ranks.Size];
        _ranks.AllGather<int>([_devices.Kernels[0] is GpuKernels ? 1 : 0], devices);
        if (_ranks.Rank > 0)
            return;
        if (devices.Distinct().Count() > 1)
            throw new InputException("some ranks have a GPU and some have none, and all share the work evenly; give --device cpu");
        int other = Array.FindIndex(threads, count => count != Threads);
        if (other >= 0)
        {
            throw new InputException(
                $"rank {other} has {threads[other]} threads and rank 0 {Threads}, and the ranks share the work evenly; "
                + "give --threads, with a number that every machine has");
        }
    }

    // ---- The other ranks ----

    private static void Send(ProcessGroup ranks, RunConfig config, InteractionDataset dataset, RunOptions options)
    {
        using var settings = new MemoryStream();
        using (var writer = new BinaryWriter(settings))
        {
            writer.Write(config.ToYaml());
            writer.Write(options.Device);
            writer.Write(options.Threads);
            writer.Write((int)options.Precision);
            writer.Write(dataset.ItemCount);
        }
        byte[] bytes = settings.ToArray();
        RankCommands.Tell(ranks, RankCommand.Begin, bytes.Length, dataset.UserOffsets.Length, dataset.EventItems.Length);
        ranks.Broadcast<byte>(bytes);
        ranks.Broadcast<int>(dataset.UserOffsets);
        ranks.Broadcast<int>(dataset.EventItems);
    }

    private static TrainingEngine Begin(ProcessGroup ranks, int length, int users, int events)
    {
        var settings = new byte[length];
        int[] offsets = new int[users], items = new int[events];
        ranks.Broadcast<byte>(settings);
        ranks.Broadcast<int>(offsets);
        ranks.Broadcast<int>(items);
        using var reader = new BinaryReader(new MemoryStream(settings));
        var config = RunConfig.Parse(reader.ReadString(), "rank 0", []);
        var options = new RunOptions("", reader.ReadString(), reader.ReadInt32(), false, (Precision)reader.ReadInt32()) { Ranks = ranks };
        var dataset = InteractionDataset.WithoutTokens(reader.ReadInt32(), offsets, items);
        return new(config, dataset, Splitter.Split(dataset, config.EvalArgs), options, null);
    }

    /// <summary>What every rank but the first does: what rank 0 commands, until the program ends.</summary>
    public static void Follow(ProcessGroup ranks)
    {
        while (RankCommands.Receive(ranks) is (RankCommand.Begin, var length, var users, var events))
        {
            using var engine = Begin(ranks, length, users, events);
            if (!engine.RunCommands())
                return;
        }
    }

    /// <summary>Does what rank 0 commands until the end of the training.</summary>
    /// <returns>Whether another one may follow.</returns>
    private bool RunCommands()
    {
        while (true)
        {
            var (command, first, second, third) = RankCommands.Receive(_ranks);
            try
            {
                switch (command)
                {
                    case RankCommand.CompileKernels:
                        Trainer.Step = second;
                        Trainer.CompileKernels(first);
                        break;
                    case RankCommand.TrainEpoch:
                        Trainer.Step = second;
                        Trainer.TrainEpoch(first, null, default);
                        break;
                    case RankCommand.LoadMoments:
                        Trainer.Optimizer.LoadMoments([], []);
                        break;
                    case RankCommand.ReadMoments:
                        Trainer.Optimizer.ReadMoments();
                        break;
                    case RankCommand.RankWith:
                        BroadcastParameters(new float[Trainer.Layout.Length]);
                        break;
                    case RankCommand.Blend:
                        _ranker.Use(ReceiveBlend());
                        break;
                    case RankCommand.RankSamples:
                        RankerOf((Ranking)third).RankForFirst(_dataset, first, second);
                        break;
                    case RankCommand.ScoreSamples:
                        RankerOf((Ranking)third).ScoreForFirst(_dataset, first, second);
                        break;
                    default:
                        return command == RankCommand.End;
                }
            }
            catch (Exception e) when (RankCommands.EndsOnAll(e))
            {
            }
        }
    }

    /// <summary>Has every rank rank with rank 0's parameters.</summary>
    private void BroadcastParameters(float[] parameters)
    {
        _ranks.Broadcast<float>(parameters);
        _evaluated.Upload(parameters);
    }

    private Blend ReceiveBlend()
    {
        var numbers = new float[BlendWeights.None.Numbers.Length];
        _ranks.Broadcast<float>(numbers);
        var weights = BlendWeights.Of(numbers)!;
        ItemSimilarity? similarity = null;
        if (weights.Similar != 0)
        {
            int[] sizes = new int[2], offsets = new int[_dataset.ItemCount + 1];
            _ranks.Broadcast<int>(sizes);
            int[] words = new int[sizes[0]];
            var weightsOfWords = new float[sizes[0]];
            _ranks.Broadcast<int>(offsets);
            _ranks.Broadcast<int>(words);
            _ranks.Broadcast<float>(weightsOfWords);
            similarity = new(offsets, words, weightsOfWords, sizes[1]);
        }
        return Blend.Of(weights, _dataset, _train, similarity);
    }

    private SharedRanker RankerOf(Ranking kind) =>
        new(_ranks, kind.HasFlag(Ranking.LeavesBlendOut) ? _ranker.Unblended.Single() : _ranker, kind);
}
