using System.Security.Cryptography;
using System.Text;
using Bert4Rec.Inference;
using Bert4Rec.Training;

namespace Bert4Rec.Server;

/// <summary>
/// Holds the model that is served, and looks at its folder: once that has changed, and then stayed as it is from one look to the next, its
/// model is loaded beside the old one and takes its place between two requests. A model that cannot be loaded is refused, and the old one
/// goes on. The folder may be a link, which is followed at each look.
/// </summary>
internal sealed class ModelHost : IDisposable
{
    /// <summary>What a change of the folder shows in: the model's files, and the one that is written when training is done.</summary>
    private static readonly string[] s_watched = [.. ModelFolder.FileNames, ResultFile.Name];

    /// <summary>Bytes of a model.safetensors in which its metadata is.</summary>
    private const int Beginnings = 4096;

    private readonly ServerOptions _options;
    private readonly Action<string> _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _watcher;
    private volatile ServedModel _model;
    private ServedModel? _old;
    private string _tried, _seen;
    private string? _waitsFor;

    /// <exception cref="InputException">The folder is not what it should be.</exception>
    /// <exception cref="Kernels.DeviceException">There is no such device.</exception>
    public ModelHost(ServerOptions options, Action<string> log)
    {
        _options = options;
        _log = log;
        if (options.OwnsProcess)
            NativeHeap.GiveBackLargeBlocks();
        string folder;
        do
        {
            folder = Resolve();
            _tried = _seen = Stamp(folder);
            _model?.Dispose();
            _model = new(Load(folder));
        }
        while (Stamp(Resolve()) != _tried);
        _waitsFor = Unfinished(folder);
        if (_waitsFor is not null)
            log($"warning: {_waitsFor}");
        GiveBackMemory();
        _watcher = new Thread(Watch) { IsBackground = true, Name = "model host" };
        _watcher.Start();
    }

    /// <summary>How many models took another's place.</summary>
    public int Swaps { get; private set; }

    /// <summary>How many changed models were refused.</summary>
    public int RefusedSwaps { get; private set; }

    /// <summary>The model of now, to read of what it is; only who <see cref="Hold"/>s it can ask it.</summary>
    public ServedModel Now => _model;

    /// <summary>The model of now, for one request, which disposes of it.</summary>
    public ServedModel Hold()
    {
        ServedModel model = _model;
        // Another one has taken its place where it is closed.
        while (!model.TryHold())
            model = _model;
        return model;
    }

    /// <summary>Closes the model once the requests that hold it have ended.</summary>
    public void Dispose()
    {
        _stop.Cancel();
        _watcher.Join();
        _model.Dispose();
        _stop.Dispose();
    }

    private void Watch()
    {
        while (!_stop.Token.WaitHandle.WaitOne(_options.Poll))
        {
            try
            {
                Look();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The folder cannot be looked at for now.
            }
        }
    }

    private void Look()
    {
        if (_old is { IsClosed: true })
        {
            _old = null;
            GiveBackMemory();
        }
        string folder = Resolve(), stamp = Stamp(folder);
        bool isStill = stamp == _seen;
        _seen = stamp;
        if (stamp == _tried || !isStill)
            return;
        if (Unfinished(folder) is string unfinished)
        {
            if (unfinished != _waitsFor)
                _log($"waiting: {unfinished}; {Version} goes on");
            _waitsFor = unfinished;
            return;
        }
        _waitsFor = null;
        _tried = stamp;
        Recommender? next = null;
        string? refusal = null;
        try
        {
            next = Load(folder);
            // A copy that is under way, or was made without the folder in it.
            refusal = next.MissingRefit;
        }
        catch (Exception e)
        {
            refusal = e is InputException or Kernels.DeviceException or IOException or UnauthorizedAccessException
                ? e.Message
                : $"{e.GetType().Name}: {e.Message}";
        }
        // Files that changed meanwhile may be of two models.
        if (Stamp(Resolve()) != stamp)
        {
            _tried = "";
            next?.Dispose();
        }
        else if (refusal is not null)
        {
            next?.Dispose();
            RefusedSwaps++;
            _log($"warning: a changed model is refused, and {Version} goes on: {refusal.ReplaceLineEndings(" ")}");
        }
        else if (next!.ModelVersion == Version)
        {
            next.Dispose();
        }
        else
        {
            string before = Version;
            _old = _model;
            _model = new(next);
            Swaps++;
            _old.Dispose();
            // Last: standard error may be a file on a full disk.
            _log($"model {Version} ({next.ItemCount:N0} items) takes the place of {before}");
        }
    }

    /// <summary>Left to itself the collector lets the garbage of several loads pile up, and keeps the room.</summary>
    private void GiveBackMemory()
    {
        if (_options.OwnsProcess)
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }

    private string Version => _model.Recommender.ModelVersion;

    /// <summary>Loads a model, and asks it something, which shows that scores are numbers, and prepares it for those who ask.</summary>
    private Recommender Load(string folder)
    {
        var recommender = Recommender.Load(folder, new() { Device = _options.Device, Threads = _options.Threads });
        try
        {
            RecommendationResult popular = recommender.Recommend(new RecommendationRequest { K = 1 });
            recommender.Recommend(new RecommendationRequest { History = [popular.Items[0].Token] });
            return recommender;
        }
        catch
        {
            recommender.Dispose();
            throw;
        }
    }

    /// <summary>The folder that the link of now leads to.</summary>
    private string Resolve() =>
        Directory.Exists(_options.Model)
            ? new DirectoryInfo(_options.Model).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? _options.Model
            : _options.Model;

    /// <summary>What is another text after each change of the model's files, or of the link to them.</summary>
    private static string Stamp(string folder)
    {
        var stamp = new StringBuilder(folder);
        foreach (string directory in (string[])[folder, RefitFolder.Of(folder)])
        {
            foreach (string name in s_watched)
            {
                var file = new FileInfo(Path.Combine(directory, name));
                stamp.Append(file.Exists ? $"|{file.LinkTarget} {file.Length} {file.LastWriteTimeUtc.Ticks}" : "|");
            }
            stamp.Append(Beginning(Path.Combine(directory, ModelFolder.ModelFileName)));
        }
        return stamp.ToString();
    }

    /// <summary>
    /// A digest of where a model has its checksum and those of the files beside it, which another model of the same size and time has not.
    /// </summary>
    private static string Beginning(string path)
    {
        if (!File.Exists(path))
            return "";
        try
        {
            // On Windows what is being read can be replaced only so.
            using var file = File.OpenHandle(path, share: FileShare.ReadWrite | FileShare.Delete);
            Span<byte> beginning = stackalloc byte[Beginnings];
            return Convert.ToHexString(SHA256.HashData(beginning[..RandomAccess.Read(file, beginning, 0)]));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Who loads it says what is wrong.
            return e.GetType().Name;
        }
    }

    /// <summary>Training writes its best model after each epoch; that is no model to serve until the training is done.</summary>
    private static string? Unfinished(string folder) =>
        ModelFolder.Unfinished(folder) ?? (RefitFolder.State(folder) is { IsBegun: true, IsWhole: false }
            ? $"the training in {RefitFolder.Of(folder)} is not done"
            : null);
}
