using System.IO.Compression;
using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.Data;

namespace Bert4Rec.Tests.Data;

public sealed class DatasetLoaderTests : IDisposable
{
    private const string Header = "user_id:token\titem_id:token\ttimestamp:float\n";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Events_are_sorted_by_exact_time_with_ties_in_file_order()
    {
        // The times differ by less than a float can tell, and by less than a second.
        var dataset = Load(Header + """
            u1	c	1569888608.5
            u2	x	3
            u1	b	1569888608.25
            u1	d	1569888608.5
            u1	a	1.5698886e9
            u2	y	-1
            """);
        Assert.Equal(["u1: a b c d", "u2: y x"], Histories(dataset));
        Assert.Equal(["[PAD]", "c", "x", "b", "d", "a", "y"], Tokens(dataset.Items));
        Assert.Null(dataset.ItemFields);
        Assert.Equal([0, 0, 4, 6], dataset.UserOffsets);
    }

    /// <summary>RecBole filters the rows of a file, and the interactions only where filter_inter_by_user_or_item says so.</summary>
    [Theory]
    [InlineData("u: b", "recbole_compatible=true")]
    [InlineData("u: a b", "recbole_compatible=true", "filter_inter_by_user_or_item=false")]
    [InlineData("u: b", "filter_inter_by_user_or_item=false")]
    public void An_items_value_filters_interactions_where_it_does_in_RecBole(string history, params string[] settings)
    {
        _folder.Write("d.inter", Header + "u\ta\t1\nu\tb\t2\n");
        _folder.Write("d.item", "item_id:token\tprice:float\na\t1\nb\t20\n");
        Assert.Equal([history], Histories(LoadFolder([.. settings, "val_interval={price: '[10,inf)'}"])));
    }

    [Fact]
    public void Long_histories_keep_ties_in_file_order()
    {
        var random = new Random(3);
        (int Item, int Time)[] rows = [.. Enumerable.Range(0, 3000).Select(item => (item, random.Next(40)))];
        var dataset = Load(Header + string.Concat(rows.Select(row => $"u\ti{row.Item}\t{row.Time}\n")));
        Assert.Equal(["u: " + string.Join(' ', rows.OrderBy(row => row.Time).Select(row => $"i{row.Item}"))], Histories(dataset));
    }

    [Theory]
    [InlineData("\n", false)]
    [InlineData("\r\n", false)]
    [InlineData("\n", true)]
    [InlineData("\r\n", true)]
    public void Line_ends_byte_order_mark_blank_lines_and_gzip_make_no_difference(string newLine, bool gzip)
    {
        string text = ("\uFEFF" + Header + "u\ta\t2\n\nu\tЖ 😀\t1\n\nv\ta\t1").Replace("\n", newLine, StringComparison.Ordinal);
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        string path = _folder.Write(gzip ? "d.inter.gz" : "d.inter", gzip ? Gzip(bytes) : bytes);
        Assert.Equal(["u: Ж 😀 a", "v: a"], Histories(Load()));
        Assert.True(File.Exists(path));
    }

    [Fact]
    public void All_four_types_and_any_column_order()
    {
        _folder.Write("d.inter", "rating:float\tvector:float_seq\ttimestamp:float\twords:token_seq\titem_id:token\tuser_id:token\n"
            + "1e-3\t1 2.5 -3\t2\ta b\tx\tu\n4\t\t1\t\ty\tu\n");
        Assert.Equal(["u: y x"], Histories(Load()));
    }

    [Fact]
    public void The_folder_of_the_dataset_or_the_one_above_it()
    {
        Directory.CreateDirectory(Path.Combine(_folder.Path, "d"));
        _folder.Write("d/d.inter", Header + "u\ta\t1\n");
        Assert.Equal(["u: a"], Histories(Load()));
        Assert.Equal(["u: a"], Histories(DatasetLoader.Load(RunConfig.Load([], [$"data_path={_folder.Path}/d", "dataset=d"]))));
    }

    [Fact]
    public void Other_separators_and_names()
    {
        _folder.Write("d.inter", "who:token,what:token,when:float\nu,a,2\nu,b,1\n");
        var dataset = LoadFolder("field_separator=','", "USER_ID_FIELD=who", "ITEM_ID_FIELD=what", "TIME_FIELD=when");
        Assert.Equal(["u: b a"], Histories(dataset));
    }

    [Fact]
    public void Items_of_the_item_file_count_and_the_last_row_of_a_product_wins()
    {
        _folder.Write("d.inter", Header + "u\tb\t1\nu\ta\t2\n");
        _folder.Write("d.item", "item_id:token\tname:token_seq\tprice:float\nz\tZed\t\na\tAy one\t1.50\nb\tBee\t2\na\tAy two\t1.75\n");
        var dataset = Load();
        Assert.Equal(["[PAD]", "b", "a", "z"], Tokens(dataset.Items));
        Assert.Equal(4, dataset.ItemCount);
        var table = dataset.ItemFields!;
        Assert.Equal(["name", "price"], table.Fields.Select(field => field.Name));
        Assert.Equal([null, "Bee", "Ay two", "Zed"], Enumerable.Range(0, 4).Select(item => table[item, 0]));
        Assert.Equal([null, "2", "1.75", null], Enumerable.Range(0, 4).Select(item => table[item, 1]));
        Assert.Empty(dataset.Warnings);

        var without = LoadFolder("load_col={inter: [user_id, item_id, timestamp]}");
        Assert.Equal(3, without.ItemCount);
        Assert.Null(without.ItemFields);
        Assert.Equal([new("price", AtomicType.Number)], LoadFolder("load_col={inter: '*', item: [price]}").ItemFields!.Fields);
    }

    [Theory]
    [InlineData(1, "every timestamp is 7; histories have the order of the file")]
    [InlineData(2, "40 of 80 interactions have the user, the item and the time of another one")]
    [InlineData(3, null)]
    [InlineData(4, "40 of 40 interactions have the time of another item of their user; their order in a history is that of the file")]
    public void Times_that_give_no_order_and_rows_that_are_there_twice_are_warnings(int kind, string? warning)
    {
        string rows = string.Concat(Enumerable.Range(0, 40).Select(
            i => $"u{i % 5}\ti{(kind == 4 ? Math.Max(i, 10) : i)}\t{(kind == 1 ? 7 : kind == 4 ? i % 5 : i)}\n"));
        var dataset = Load(Header + rows + (kind == 2 ? rows : ""));
        if (warning is null)
            Assert.Empty(dataset.Warnings);
        else
            Assert.Contains(warning, Assert.Single(dataset.Warnings));
    }

    [Fact]
    public void Interactions_without_a_row_in_item_stay_with_a_warning_unless_told_otherwise()
    {
        _folder.Write("d.inter", Header + "u\ta\t1\nu\tb\t2\n");
        string path = _folder.Write("d.item", "item_id:token\nb\n");
        var dataset = Load();
        Assert.Equal(["u: a b"], Histories(dataset));
        Assert.Equal(
            [$"{path}: no row for 1 item of d.inter; their interactions stay (filter_inter_by_user_or_item: true drops them)"],
            dataset.Warnings);
        Assert.Equal(["u: b"], Histories(LoadFolder("filter_inter_by_user_or_item=true")));
    }

    [Fact]
    public void Users_of_the_user_file_without_interactions_get_no_id()
    {
        _folder.Write("d.inter", Header + "u\ta\t1\n");
        _folder.Write("d.user", "user_id:token\tage:float\nu\t3\nv\t4\n");
        Assert.Equal(["[PAD]", "u"], Tokens(Load().Users));
    }

    [Fact]
    public void Values_filter_rows_of_every_file()
    {
        _folder.Write("d.inter", "user_id:token\titem_id:token\ttimestamp:float\trating:float\tkind:token\n"
            + "u\ta\t1\t3\tbuy\nu\tb\t2\t4\tbuy\nu\tc\t3\t5\tview\nv\tb\t4\t5\tbuy\n");
        _folder.Write("d.item", "item_id:token\tprice:float\na\t10\nb\t20\nc\t\nz\t30\ny\t5\n");
        _folder.Write("d.user", "user_id:token\tage:float\nu\t30\nv\t60\n");
        Assert.Equal(["u: b c", "v: b"], Histories(LoadFolder("val_interval.rating=(3,inf)")));
        Assert.Equal(["u: a b", "v: b"], Histories(LoadFolder("val_interval={kind: [buy, cart]}")));
        Assert.Equal(["u: a b"], Histories(LoadFolder("val_interval={kind: [buy], age: '[0,59]'}")));
        var cheap = LoadFolder("val_interval={price: '[10,20]'}");
        Assert.Equal(["u: a b", "v: b"], Histories(cheap));
        Assert.Equal(["[PAD]", "a", "b"], Tokens(cheap.Items));
        // Without interactions an item of .item stays: it can be recommended.
        Assert.Equal(["[PAD]", "b", "c", "a", "z", "y"], Tokens(LoadFolder("val_interval.rating=(3,inf)").Items));
    }

    [Fact]
    public void Counts_filter_until_nothing_changes()
    {
        // c has one event; without it v has one; without v's, b has one; without that u has two, of a.
        string rows = "v\tb\t9\nu\ta\t1\nu\tb\t2\nv\tc\t3\nu\ta\t4\nw\ta\t5\nw\ta\t6\n";
        Assert.Equal(["u: a a", "w: a a"], Histories(Load(
            Header + rows, "user_inter_num_interval=[2,inf)", "item_inter_num_interval=[2,inf)")));
        Assert.Equal(["v: c b", "u: b"], Histories(Load(Header + rows, "item_inter_num_interval=[1,2]")));
    }

    [Fact]
    public void Ids_are_numbered_anew_after_filtering_even_if_all_remain()
    {
        // The first row of a goes with x, so that b comes first.
        var dataset = Load(Header + "x\ta\t1\nu\tb\t2\nu\ta\t3\nu\ta\t4\n", "user_inter_num_interval=[2,inf)");
        Assert.Equal(["[PAD]", "b", "a"], Tokens(dataset.Items));
        Assert.Equal(["u: b a a"], Histories(dataset));
    }

    [Theory]
    [InlineData("[2,inf)", "[PAD]", "a")]
    [InlineData("[0,1]", "[PAD]", "b", "z")]
    [InlineData("[0,inf)", "[PAD]", "a", "b", "z")]
    public void Items_that_only_item_has_follow_the_item_interval(string interval, params string[] expected)
    {
        _folder.Write("d.inter", Header + "u\ta\t1\nu\ta\t2\nu\tb\t3\n");
        _folder.Write("d.item", "item_id:token\nz\nb\na\n");
        Assert.Equal(expected, Tokens(LoadFolder($"item_inter_num_interval={interval}").Items));
    }

    [Fact]
    public void Progress_is_told()
    {
        _folder.Write("d.inter", Header + "u\ta\t1\n");
        var progress = new Recorder();
        DatasetLoader.Load(RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=d"]), progress);
        Assert.Contains(progress.Updates, update => update is { Activity: "reading d.inter", Unit: "bytes", Total: > 0 });
    }

    [Theory]
    [InlineData("", "1: the file is empty; the first line names the columns, like 'user_id:token<TAB>item_id:token<TAB>timestamp:float'")]
    [InlineData(Header, "1: the file has a header but no rows")]
    [InlineData("user_id\titem_id\n", "1: the header has 'user_id' where name:type is wanted")]
    [InlineData("u\ta\t1\n", "1: the header has 'u' where name:type is wanted")]
    [InlineData("user_id:token\titem_id:int\ttimestamp:float\n",
        "1: column 'item_id' has the type 'int'; the types are token, token_seq, float, float_seq")]
    [InlineData("user_id:token\tuser_id:float\n", "1: there are two columns 'user_id'; rename one")]
    [InlineData("user:token\titem_id:token\ttimestamp:float\nu\ta\t1\n",
        "1: there is no column 'user_id' (USER_ID_FIELD) among user, item_id, timestamp; rename the column or change USER_ID_FIELD")]
    [InlineData("user_id:token\titem_id:token\nu\ta\n",
        "1: there is no column 'timestamp' (TIME_FIELD) among user_id, item_id; rename the column or change TIME_FIELD")]
    [InlineData("user_id:token\titem_id:token\ttimestamp:token\nu\ta\t1\n",
        "1: column 'timestamp' (TIME_FIELD) has the type token; write it as timestamp:float")]
    [InlineData("user_id:token\titem_id:float\ttimestamp:float\nu\t1\t1\n",
        "1: column 'item_id' (ITEM_ID_FIELD) has the type float; write it as item_id:token")]
    [InlineData(Header + "u\ta\t1\nu\ta\n", "3: 2 values where the header has 3 columns (separated by a TAB): 'u a'")]
    [InlineData(Header + "u\ta\t1\t\n", "2: 4 values where the header has 3 columns (separated by a TAB): 'u a 1 '")]
    [InlineData(Header + "u a 1\n", "2: 1 value where the header has 3 columns (separated by a TAB): 'u a 1'")]
    [InlineData(Header + "u\ta\t1\n\nu\ta\tnoon\n", "4: timestamp must be a number, not 'noon'")]
    [InlineData(Header + "u\ta\tNaN\n", "2: timestamp must be a number, not 'NaN'")]
    [InlineData(Header + "u\ta\tinf\n", "2: timestamp must be a number, not 'inf'")]
    [InlineData(Header + "u\ta\t1e999\n", "2: timestamp must be a number, not '1e999'")]
    [InlineData(Header + "u\ta\t\n", "2: timestamp must be a number, not ''")]
    [InlineData(Header + "\ta\t1\n", "2: user_id is empty; every row needs one")]
    [InlineData(Header + "u\t\t1\n", "2: item_id is empty; every row needs one")]
    [InlineData(Header + "u\ta\t1\nu\rv\ta\t1\n", "3: 1 value where the header has 3 columns (separated by a TAB): 'u'")]
    [InlineData(Header + "u\ta\r\t1\r\n", "2: 2 values where the header has 3 columns (separated by a TAB): 'u a'")]
    [InlineData(Header + "\uFEFFu\ta\t1\n",
        "2: user_id '\uFFFDu' has in it a byte order mark (U+FEFF), as joined files have it; take it out")]
    [InlineData("user_id:token\titem_id:token\ttimestamp:float\trating:float\nu\ta\t1\tgood\n", "2: rating must be a number, not 'good'")]
    [InlineData("user_id:token\titem_id:token\ttimestamp:float\tv:float_seq\nu\ta\t1\t1 2 x\n", "2: v must be a number, not 'x'")]
    public void Errors_name_file_line_value_and_fix(string text, string message)
    {
        string path = _folder.Write("d.inter", text);
        Assert.StartsWith($"{path}:{message}", Assert.Throws<InputException>(() => Load()).Message);
    }

    [Theory]
    [InlineData("item_id:token\tprice:float\na\tcheap\n", "2: price must be a number, not 'cheap'")]
    [InlineData("item_id:token\tprice:float\n\t1\n", "2: item_id is empty; every row needs one")]
    [InlineData("id:token\tprice:float\na\t1\n", "1: there is no column 'item_id' (ITEM_ID_FIELD) among id, price")]
    [InlineData("", "1: the file is empty")]
    public void Errors_in_item_name_it(string text, string message)
    {
        _folder.Write("d.inter", Header + "u\ta\t1\n");
        string path = _folder.Write("d.item", text);
        Assert.StartsWith($"{path}:{message}", Assert.Throws<InputException>(() => Load()).Message);
    }

    [Fact]
    public void Errors_in_user_name_it()
    {
        _folder.Write("d.inter", Header + "u\ta\t1\n");
        string path = _folder.Write("d.user", "user_id:token\tage:float\nu\told\n");
        Assert.StartsWith($"{path}:2: age must be a number, not 'old'", Assert.Throws<InputException>(() => Load()).Message);
    }

    [Fact]
    public void Bytes_that_are_not_UTF8_are_an_error()
    {
        string path = _folder.Write("d.inter", [.. Encoding.UTF8.GetBytes(Header + "u\ta\t1\nu\t"), 0xFF, 0xFE, .. "\t2\n"u8]);
        Assert.StartsWith($"{path}:3: not UTF-8: ", Assert.Throws<InputException>(() => Load()).Message);
    }

    [Fact]
    public void A_damaged_gzip_file_is_an_error()
    {
        string rows = string.Concat(Enumerable.Range(0, 5000).Select(i => $"u{i * 7919}\ti{i}\t{i}\n"));
        byte[] whole = Gzip(Encoding.UTF8.GetBytes(Header + rows));
        string path = _folder.Write("d.inter.gz", whole[..(whole.Length / 2)]);
        Assert.StartsWith(path, Assert.Throws<InputException>(() => Load()).Message);
        whole[whole.Length / 2] ^= 0xFF;
        _folder.Write("d.inter.gz", whole);
        Assert.StartsWith(path, Assert.Throws<InputException>(() => Load()).Message);
    }

    [Fact]
    public void A_missing_file_or_dataset_is_named()
    {
        string message = Assert.Throws<InputException>(() => Load()).Message;
        string nested = Path.Combine(_folder.Path, "d", "d.inter"), direct = Path.Combine(_folder.Path, "d.inter");
        Assert.StartsWith($"{nested}: there is no such file (nor {nested}.gz, nor {direct})", message);
        Assert.Contains("dataset: NAME", Assert.Throws<InputException>(() => DatasetLoader.Load(RunConfig.Load([], []))).Message);
        string file = Path.Combine(_folder.Path, "none.inter");
        Assert.Equal($"{file}: there is no such file", Assert.Throws<InputException>(() => new AtomicFileReader(file)).Message);
    }

    [Theory]
    [InlineData("val_interval.rating=[3,inf)",
        "--set val_interval.rating=[3,inf): val_interval names the field 'rating', which no loaded file has")]
    [InlineData("val_interval={timestamp: [a, b]}",
        "--set val_interval={timestamp: [a, b]}: val_interval.timestamp does not fit the column's type float")]
    [InlineData("val_interval.item_id=[3,inf)",
        "--set val_interval.item_id=[3,inf): val_interval.item_id does not fit the column's type token")]
    [InlineData("load_col={inter: [user_id, item_id, stars]}",
        "{0}:1: there is no column 'stars' (load_col.inter, --set load_col={inter: [user_id, item_id, stars]}) among user_id")]
    [InlineData("item_inter_num_interval=[5,inf)", "{0}: the filters of the config leave no interaction; loosen")]
    public void Settings_that_do_not_fit_the_files_are_errors(string setting, string message)
    {
        string path = _folder.Write("d.inter", Header + "u\ta\t1\n");
        string found = Assert.Throws<InputException>(() => LoadFolder(setting)).Message;
        Assert.StartsWith(message.Replace("{0}", path, StringComparison.Ordinal), found);
    }

    [Fact]
    public void Mutated_files_end_in_an_InputException_or_load()
    {
        var random = new Random(5);
        byte[] inter = Encoding.UTF8.GetBytes("user_id:token\titem_id:token\ttimestamp:float\tv:float_seq\r\n"
            + "u1\tÄpfel\t1.5\t1 2\r\nu2\tb\t-2e3\t3\nu1\tb\t7\t\n");
        byte[] item = Encoding.UTF8.GetBytes("item_id:token\tprice:float\twords:token_seq\nb\t2.5\tx y\nÄpfel\t\tz\n");
        byte[] special = [.. "\t\n\r :.,-e0N\"\0"u8, 0xFF, 0xC3, 0xEF, 0x1F, 0x8B];
        var config = RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=d", "item_inter_num_interval=[1,inf)"]);
        int loaded = 0;
        for (int i = 0; i < 2000; i++)
        {
            _folder.Write("d.inter", i % 3 == 0 ? inter : Mutate(inter));
            _folder.Write("d.item", i % 3 == 1 ? item : Mutate(item));
            try
            {
                Assert.True(DatasetLoader.Load(config).ItemCount > 1);
                loaded++;
            }
            catch (InputException e)
            {
                Assert.StartsWith(Path.Combine(_folder.Path, "d.i"), e.Message);
                Assert.DoesNotContain(e.Message, character => char.IsControl(character));
            }
        }
        Assert.InRange(loaded, 100, 1800);

        byte[] Mutate(byte[] content)
        {
            var bytes = content.ToList();
            for (int change = random.Next(1, 3); change > 0; change--)
            {
                int at = random.Next(bytes.Count);
                byte value = random.Next(2) == 0 ? (byte)random.Next('0', '{') : special[random.Next(special.Length)];
                switch (random.Next(4))
                {
                    case 0:
                        bytes[at] = value;
                        break;
                    case 1:
                        bytes.Insert(at, value);
                        break;
                    case 2:
                        bytes.RemoveAt(at);
                        break;
                    default:
                        bytes.RemoveRange(at, random.Next(bytes.Count - at));
                        break;
                }
                if (bytes.Count == 0)
                    break;
            }
            return [.. bytes];
        }
    }

    [Fact]
    public void Rows_of_any_length_cross_the_readers_buffer()
    {
        // 64 KB is the buffer: tokens around that size, and many rows that end at different places in it.
        string[] tokens = [.. Enumerable.Range(0, 60).Select(i => new string('a', i % 7 == 0 ? 65_500 + i : 3_000 + (i * 37)) + i)];
        var dataset = Load(Header + string.Concat(tokens.Select((token, i) => $"u\t{token}\t{i}\n")));
        Assert.Equal(tokens, dataset.History(new Sample(1, tokens.Length), 1000).ToArray().Select(item => dataset.Items[item]));
    }

    private InteractionDataset Load(string interactions, params string[] overrides)
    {
        _folder.Write("d.inter", interactions);
        return LoadFolder(overrides);
    }

    private InteractionDataset Load() => LoadFolder();

    private InteractionDataset LoadFolder(params string[] overrides) =>
        DatasetLoader.Load(RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=d", .. overrides]));

    private static string[] Histories(InteractionDataset dataset) =>
    [
        .. Enumerable.Range(1, dataset.UserCount - 1).Select(user => $"{dataset.Users[user]}: " + string.Join(
            ' ', dataset.EventItems[dataset.UserOffsets[user]..dataset.UserOffsets[user + 1]].Select(item => dataset.Items[item]))),
    ];

    private static string[] Tokens(Vocabulary vocabulary) => [.. Enumerable.Range(0, vocabulary.Count).Select(id => vocabulary[id])];

    private static byte[] Gzip(byte[] content)
    {
        var output = new MemoryStream();
        using (var gzip = new GZipStream(output, CompressionLevel.Fastest))
            gzip.Write(content);
        return output.ToArray();
    }

    private sealed class Recorder : IProgress<ProgressUpdate>
    {
        public List<ProgressUpdate> Updates { get; } = [];

        public void Report(ProgressUpdate value) => Updates.Add(value);
    }
}
