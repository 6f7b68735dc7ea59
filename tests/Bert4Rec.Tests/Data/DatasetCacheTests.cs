using System.Text;
using System.Text.RegularExpressions;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tests.Data;

public sealed class DatasetCacheTests : IDisposable
{
    private const string Rows = "user_id:token\titem_id:token\ttimestamp:float\nu\tb\t2\nu\ta\t1\nv\tb\t1\nw\tü\t5\nw\tb\t6\n";

    private readonly TemporaryFolder _folder = new();
    private readonly List<string> _warnings = [];

    public DatasetCacheTests()
    {
        _folder.Write("d.inter", Rows);
        _folder.Write("d.item", "item_id:token\tname:token_seq\tprice:float\nz\tZed\t\na\tAy one\t1.50\nb\tAy one\t2\n");
    }

    private string CachePath => Path.Combine(_folder.Path, "d.inter.cache");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void The_cache_gives_what_the_files_give()
    {
        var expected = DatasetLoader.Load(Config());
        AssertSame(expected, Load());
        byte[] written = File.ReadAllBytes(CachePath);

        // Proof that it is read: what is in it is what counts, until its checksum says otherwise.
        DateTime before = File.GetLastWriteTimeUtc(CachePath);
        AssertSame(expected, Load());
        Assert.Equal(before, File.GetLastWriteTimeUtc(CachePath));
        Assert.Equal(written, File.ReadAllBytes(CachePath));
        Assert.Empty(_warnings);
        Assert.NotEmpty(expected.Warnings);
        Assert.Equal(["d.inter", "d.inter.cache", "d.item"], Directory.GetFiles(_folder.Path).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void Another_file_or_setting_makes_another_cache()
    {
        Load();
        foreach (string setting in new[]
        {
            "user_inter_num_interval=[2,inf)", "item_inter_num_interval=[2,inf)", "val_interval.price=[2,inf)",
            "filter_inter_by_user_or_item=true", "load_col={inter: '*'}", "load_col={inter: '*', item: [item_id, price]}",
        })
        {
            AssertSame(DatasetLoader.Load(Config(setting)), Load(setting));
            AssertSame(DatasetLoader.Load(Config()), Load());
        }
        // Of the same length, and of the same time.
        DateTime time = File.GetLastWriteTimeUtc(Path.Combine(_folder.Path, "d.inter"));
        string path = _folder.Write("d.inter", Rows.Replace("v\tb", "v\ta", StringComparison.Ordinal));
        File.SetLastWriteTimeUtc(path, time);
        AssertSame(DatasetLoader.Load(Config()), Load());
        File.Delete(Path.Combine(_folder.Path, "d.item"));
        AssertSame(DatasetLoader.Load(Config()), Load());
        _folder.Write("d.user", "user_id:token\nu\n");
        AssertSame(DatasetLoader.Load(Config()), Load());
        Assert.Empty(_warnings);
        byte[] written = File.ReadAllBytes(CachePath);
        // Settings that the loader never sees.
        Load("epochs=3", "hidden_size=32", "MAX_ITEM_LIST_LENGTH=7");
        Assert.Equal(written, File.ReadAllBytes(CachePath));
    }

    [Fact]
    public void A_damaged_cache_is_made_anew_with_a_warning()
    {
        var expected = DatasetLoader.Load(Config());
        Load();
        byte[] whole = File.ReadAllBytes(CachePath);
        var random = new Random(6);
        for (int i = 0; i < 60; i++)
        {
            byte[] damaged = [.. whole];
            if (i % 3 == 0)
                damaged = damaged[..random.Next(damaged.Length)];
            else if (i % 3 == 1)
                damaged[random.Next(damaged.Length)] ^= (byte)(1 << random.Next(8));
            else
                damaged = [.. damaged, .. new byte[random.Next(1, 9)]];
            File.WriteAllBytes(CachePath, damaged);
            _warnings.Clear();
            AssertSame(expected, Load());
            Assert.StartsWith(CachePath, Assert.Single(_warnings));
            Assert.Equal(whole, File.ReadAllBytes(CachePath));
        }
    }

    [Fact]
    public void A_whole_file_that_is_no_dataset_is_made_anew_with_a_warning()
    {
        var expected = DatasetLoader.Load(Config());
        Load();
        byte[] whole = File.ReadAllBytes(CachePath);
        Dictionary<string, string> metadata;
        using (var file = SafeTensors.Read(CachePath))
            metadata = file.Metadata.Where(entry => entry.Key is not ("sha256" or "checksum")).ToDictionary();
        (string Name, NamedTensor Tensor)[] tensors =
        [
            ("user_text", NamedTensor.Of("user_text", [7], "[PAD]uu"u8.ToArray())),
            ("items", NamedTensor.Of("items", [5], new[] { 1, 2, 3, 4, 99 })),
            ("user_offsets", NamedTensor.Of("user_offsets", [5], new[] { 0, 0, 4, 3, 5 })),
            ("field_1", NamedTensor.Of("field_1", [5], new[] { 0, 1, 2, 3, 77 })),
        ];
        foreach (var (name, wrong) in tensors)
        {
            using (var file = SafeTensors.Read(CachePath))
            {
                NamedTensor[] all =
                [
                    wrong,
                    .. file.Names.Where(other => other != name).Select(other => other.EndsWith("_text", StringComparison.Ordinal)
                        ? NamedTensor.Of(other, file.Shape(other), file.ReadBytes(other))
                        : NamedTensor.Of(other, file.Shape(other), file.ReadInts(other))),
                ];
                SafeTensors.Write(CachePath, all, metadata);
            }
            _warnings.Clear();
            AssertSame(expected, Load());
            Assert.StartsWith(CachePath, Assert.Single(_warnings));
            Assert.Equal(whole, File.ReadAllBytes(CachePath));
        }
        metadata.Remove("made from");
        SafeTensors.Write(CachePath, [], metadata);
        AssertSame(expected, Load());
        Assert.Equal(whole, File.ReadAllBytes(CachePath));
    }

    [Fact]
    public void Where_no_cache_can_be_written_the_files_are_read()
    {
        var expected = DatasetLoader.Load(Config());
        Directory.CreateDirectory(CachePath);
        AssertSame(expected, Load());
        Assert.StartsWith($"{CachePath}: not written: ", Assert.Single(_warnings));
        Directory.Delete(CachePath);
        AssertSame(expected, Load());
        Assert.True(File.Exists(CachePath));
    }

    [Fact]
    public void Errors_in_the_files_are_those_of_the_loader()
    {
        string path = _folder.Write("d.inter", Rows + "u\t\t3\n");
        Assert.StartsWith($"{path}:7: item_id is empty", Assert.Throws<InputException>(() => Load()).Message);
        Assert.False(File.Exists(CachePath));
    }

    /// <summary>One that is read and no part of the cache's key would let an old cache pass for the dataset.</summary>
    [Fact]
    public void The_loader_reads_no_setting_that_the_cache_does_not_know()
    {
        string[] known =
        [
            // Whose values are the key.
            "FieldSeparator", "FilterByUserOrItem", "ItemIdField", "ItemInteractionInterval", "LoadColumns", "LoadsFile",
            "RecboleCompatible", "SequenceSeparator", "TimeField", "UserIdField", "UserInteractionInterval", "ValueFilters",
            // Which files there are, and how errors are worded.
            "DataPath", "Dataset", "Where",
        ];
        string source = string.Concat(new[] { "DatasetLoader", "DatasetFiles", "ColumnFilters" }.Select(
            name => File.ReadAllText(Path.Combine(TestFiles.RepositoryRoot, $"src/Bert4Rec/Data/{name}.cs"))));
        string[] read = [.. Regex.Matches(source, @"\b_?config\.(\w+)").Select(match => match.Groups[1].Value).Distinct().Order()];
        Assert.Equal(known.Order(), read.Union(["UserInteractionInterval", "ItemInteractionInterval"]).Order());
    }

    private RunConfig Config(params string[] settings) =>
        RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=d", .. settings]);

    private InteractionDataset Load(params string[] settings) =>
        DatasetLoader.Load(Config(settings), null, new DatasetCache(_warnings.Add));

    private static void AssertSame(InteractionDataset expected, InteractionDataset actual)
    {
        Assert.Equal(expected.Checksum(), actual.Checksum());
        Assert.Equal(expected.Warnings, actual.Warnings);
        Assert.Equal(expected.ItemFields?.Fields, actual.ItemFields?.Fields);
        for (int field = 0; field < (expected.ItemFields?.Fields.Count ?? 0); field++)
        {
            for (int item = 0; item < expected.ItemCount; item++)
                Assert.Equal(expected.ItemFields![item, field], actual.ItemFields![item, field]);
        }
    }
}
