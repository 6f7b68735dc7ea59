using Bert4Rec.Configuration;

namespace Bert4Rec.Data;

/// <summary>Where a config's atomic files are: DataPath/Dataset/Dataset.inter or DataPath/Dataset.inter, each or with .gz.</summary>
internal sealed class DatasetFiles
{
    private readonly RunConfig _config;

    /// <exception cref="InputException">No dataset is named, or there is no .inter.</exception>
    public DatasetFiles(RunConfig config)
    {
        if (config.Dataset is not { } name)
            throw new InputException("no dataset is named: write 'dataset: NAME' in the config or pass --set dataset=NAME");
        _config = config;
        string nested = Path.Combine(config.DataPath, name, name + ".inter");
        string direct = Path.Combine(config.DataPath, name + ".inter");
        Interactions = Existing(nested) ?? Existing(direct) ?? throw new InputException(
            $"{nested}: there is no such file (nor {nested}.gz, nor {direct}); put it there or pass --set data_path=FOLDER");
    }

    /// <summary>The path of .inter.</summary>
    public string Interactions { get; }

    /// <summary>.inter, and .item and .user if they are there and wanted.</summary>
    public IReadOnlyList<string> All => [Interactions, .. new[] { "item", "user" }.Select(Find).OfType<string>()];

    /// <summary>The path of .inter, or of .item or .user beside it; null where there is none or load_col does not want it.</summary>
    /// <param name="suffix">inter, item or user.</param>
    public string? Find(string suffix) => suffix == "inter" ? Interactions
        : _config.LoadsFile(suffix) ? Existing(Path.Combine(Path.GetDirectoryName(Interactions)!, $"{_config.Dataset}.{suffix}"))
        : null;

    private static string? Existing(string path) => File.Exists(path) ? path : File.Exists(path + ".gz") ? path + ".gz" : null;
}
