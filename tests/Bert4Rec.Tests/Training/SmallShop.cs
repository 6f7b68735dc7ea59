using Bert4Rec.Configuration;
using Bert4Rec.Data.Synthesis;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>A shop's log in a folder of its own, and runs on it that take a moment.</summary>
public sealed class SmallShop : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private int _runs;

    public SmallShop() => ShopSynthesizer.Write(
        new ShopParameters { Users = 150, Items = 40, Interactions = 900, Seed = 3 }, Path.Combine(_folder.Path, "data", "shop"), "shop");

    public string Folder => _folder.Path;

    /// <summary>A name that no run has had yet.</summary>
    public string NewRun() => Path.Combine(_folder.Path, $"run {Interlocked.Increment(ref _runs)}");

    /// <summary>The settings as --set takes them.</summary>
    public string[] Settings(params string[] more) =>
    [
        $"data_path={Path.Combine(_folder.Path, "data")}", "dataset=shop", "hidden_size=16", "inner_size=24", "n_layers=2",
        "MAX_ITEM_LIST_LENGTH=8", "train_batch_size=64", "topk=[5,10]", "epochs=4", "seed=7", .. more,
    ];

    internal RunConfig Config(params string[] more) => RunConfig.Load([], Settings(more));

    /// <summary>Trains into a folder, on two threads.</summary>
    internal static TrainingResult Train(
        RunConfig config, string directory, bool resume = false, Action<EpochReport>? onEpoch = null,
        CancellationToken cancellation = default) =>
        TrainingSession.Train(config, new RunOptions(directory, "cpu", Threads: 2, resume), null, null, onEpoch, cancellation);

    public void Dispose() => _folder.Dispose();
}
