using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Data.Synthesis;

namespace Bert4Rec.Benchmarks;

/// <summary>Invented shops in a folder that goes with them.</summary>
internal sealed class Shops : IDisposable
{
    private const string Name = "shop";

    public string Folder { get; } = Directory.CreateTempSubdirectory("bert4rec-").FullName;

    /// <summary>A shop with histories as short as the real log's, and a config for it with these settings.</summary>
    public (RunConfig Config, InteractionDataset Dataset) Make(int interactions, int items, params string[] settings)
    {
        var real = new ShopParameters { Users = (int)((long)interactions * 285_000 / 549_446), Items = items, Interactions = interactions };
        ShopSynthesizer.Write(real, Path.Combine(Folder, Name), Name);
        string files = "load_col={inter: [user_id, item_id, timestamp], item: [item_id, category, brand, price]}";
        var config = RunConfig.Load([], [$"data_path={Folder}", $"dataset={Name}", files, .. settings]);
        return (config, DatasetLoader.Load(config));
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
