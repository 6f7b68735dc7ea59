// Stands in for library types that this branch was written before; delete it where the library has them.
#pragma warning disable
namespace Bert4Rec.Training
{
    using Bert4Rec.Configuration;

    public sealed record RunOptions(string OutputDirectory, string Device, int Threads, bool Resume);
    public sealed record TrainingStart(
        string Dataset, int Users, int Items, long Interactions, int TrainSamples, int ValidSamples, int TestSamples,
        long Parameters, string Device, int Threads);
    public sealed record EpochReport(
        int Epoch, double Loss, double Seconds, double TokensPerSecond, IReadOnlyDictionary<string, double>? Valid, bool IsBest);
    public sealed record TrainingResult(
        int Epochs, int BestEpoch, double Seconds, long Parameters, IReadOnlyDictionary<string, double> BestValid,
        IReadOnlyDictionary<string, double> Test, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines);

    public static class TrainingSession
    {
        public const string ConfigFileName = "config.yaml";
        public static TrainingResult Train(
            RunConfig config, RunOptions options, IProgress<ProgressUpdate>? progress, Action<TrainingStart>? onStart,
            Action<EpochReport>? onEpoch, CancellationToken cancellation) => throw new InputException("shim");
    }
}

namespace Bert4Rec.Evaluation
{
    using Bert4Rec.Configuration;

    public sealed record EvaluationResult(
        int Samples, double Seconds, IReadOnlyDictionary<string, double> Metrics,
        IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines);

    public static class EvaluationRun
    {
        public static EvaluationResult Evaluate(
            string directory, RunConfig config, string part, string device, int threads, IProgress<ProgressUpdate>? progress,
            CancellationToken cancellation) => throw new InputException("shim");
    }
}

namespace Bert4Rec.Inference
{
    public sealed record Recommendation(string Token, float Score, IReadOnlyList<KeyValuePair<string, string>> Fields);

    public sealed class Recommender : IDisposable
    {
        public static Recommender Load(string directory, string device, int threads) => throw new InputException($"{directory}: no model");
        public IReadOnlyList<string> HistoryOf(string userToken) => throw new InputException("shim");
        public IReadOnlyList<Recommendation> Recommend(
            IReadOnlyList<string> historyTokens, int k, bool excludeSeen, out IReadOnlyList<string> unknownTokens) =>
            throw new InputException("shim");
        public IReadOnlyList<IReadOnlyList<Recommendation>> Recommend(
            IReadOnlyList<IReadOnlyList<string>> histories, int k, bool excludeSeen, out IReadOnlyList<IReadOnlyList<string>> unknownTokens) =>
            throw new InputException("shim");
        public void Dispose() { }
    }
}

