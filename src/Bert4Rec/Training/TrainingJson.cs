using System.Text.Json.Serialization;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>The records of result.json, metrics.jsonl and the checkpoint.</summary>
[JsonSerializable(typeof(EpochReport))]
[JsonSerializable(typeof(TrainingResult))]
[JsonSerializable(typeof(TrainingProgress))]
[JsonSerializable(typeof(IReadOnlyDictionary<string, string>))]
[JsonSerializable(typeof(Dictionary<string, string>))]
internal sealed partial class TrainingJson : JsonSerializerContext
{
    public static RecordJson Records { get; } = new(new TrainingJson());
}
