using Bert4Rec.Configuration;
using Bert4Rec.Inference;
using Bert4Rec.Tests.Training;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Inference;

/// <summary>A model of the <see cref="SmallShop"/>, trained once for a class of tests.</summary>
public sealed class TrainedShop : IDisposable
{
    private readonly SmallShop _shop = new();

    public TrainedShop()
    {
        Config = _shop.Config("epochs=3", "learning_rate=0.01");
        Model = _shop.NewRun();
        Result = SmallShop.Train(Config, Model);
    }

    internal RunConfig Config { get; }

    /// <summary>The model's folder; tests that change files take a <see cref="Copy"/>.</summary>
    public string Model { get; }

    public TrainingResult Result { get; }

    /// <summary>Trains another model, with some settings changed.</summary>
    /// <returns>Its folder.</returns>
    public string Train(params string[] settings)
    {
        string directory = _shop.NewRun();
        SmallShop.Train(Config.With(settings), directory);
        return directory;
    }

    public string Copy()
    {
        string copy = _shop.NewRun();
        Directory.CreateDirectory(copy);
        foreach (string file in Directory.GetFiles(Model))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        return copy;
    }

    /// <summary>The model with a blend, as if validation had chosen these weights.</summary>
    /// <returns>Its folder.</returns>
    public string Blended(BlendWeights weights)
    {
        string directory = Copy();
        var folder = ModelFolder.Load(directory, null);
        ModelFolder.SaveModel(directory, folder.Config, folder.Layout, folder.Parameters, weights);
        return directory;
    }

    public static Recommender Open(string directory) => Recommender.Load(directory, new() { Device = "cpu", Threads = 1 });

    public void Dispose() => _shop.Dispose();
}
