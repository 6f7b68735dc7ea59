using System.Text.RegularExpressions;
using ParquetSharp;

namespace Bert4Rec.Serialization;

/// <summary>
/// A Parquet file that is read row group by row group, page by page. What is wrong with it is told by file, row group and column: checksums
/// of pages are checked where the writer made them, and the values of each column counted against what the footer says.
/// </summary>
internal sealed partial class ParquetInput : IDisposable
{
    private const string Extension = ".parquet";

    private readonly ParquetFileReader _file;
    private readonly string[][] _leaves;

    /// <exception cref="InputException">There is no such file, or it is no whole Parquet file.</exception>
    public ParquetInput(string path)
    {
        Path = path;
        // The library would open pipes and folders too.
        InputFile.Open(path).Dispose();
        (_file, _leaves, RowsOfGroup) = Checked(
            $"{path}: no Parquet file, or one that was cut off or damaged",
            () =>
            {
                using var properties = ReaderProperties.GetDefaultReaderProperties();
                properties.EnableBufferedStream();
                properties.EnablePageChecksumVerification();
                var file = new ParquetFileReader(path, properties);
                SchemaDescriptor schema = file.FileMetaData.Schema;
                string[][] leaves = [.. Enumerable.Range(0, schema.NumColumns).Select(column => schema.Column(column).Path.ToDotVector())];
                var rows = new long[file.FileMetaData.NumRowGroups];
                for (int group = 0; group < rows.Length; group++)
                {
                    using RowGroupReader reader = file.RowGroup(group);
                    rows[group] = reader.MetaData.NumRows;
                }
                return (file, leaves, rows);
            });
        long total = _file.FileMetaData.NumRows;
        if (RowsOfGroup.Any(rows => rows < 0) || RowsOfGroup.Sum() != total)
        {
            Dispose();
            throw new InputException(
                $"{path}: the footer tells of {total:N0} rows, and its row groups of {RowsOfGroup.Sum():N0}: it is damaged; {Remedy}");
        }
    }

    public string Path { get; }

    /// <summary>Rows of each row group.</summary>
    public IReadOnlyList<long> RowsOfGroup { get; }

    public long Rows => RowsOfGroup.Sum();

    /// <summary>The names of the columns, those of groups and lists too.</summary>
    public IReadOnlyList<string> Names => [.. _leaves.Select(leaf => leaf[0]).Distinct()];

    private static string Remedy => "write or copy it again";

    /// <summary>Whether a file is Parquet: by its name, or by its first bytes.</summary>
    /// <exception cref="InputException">There is no such file, or it is no regular one.</exception>
    public static bool IsParquet(string path)
    {
        if (HasExtension(path))
            return true;
        using FileStream file = InputFile.Open(path);
        Span<byte> start = stackalloc byte[4];
        return file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && start.SequenceEqual("PAR1"u8);
    }

    /// <summary>Whether a file is Parquet by its name.</summary>
    public static bool HasExtension(string path) => path.EndsWith(Extension, StringComparison.OrdinalIgnoreCase);

    /// <summary>A column by its name, to be read as text; null where there is none.</summary>
    /// <param name="name">Its name, in upper and lower case as in the file.</param>
    /// <exception cref="InputException">It is a group, a map, or of a type that is no text, number or time.</exception>
    public ParquetColumn? Column(string name, bool mayBeList = false)
    {
        int index = Array.FindIndex(_leaves, leaf => leaf[0] == name);
        if (index < 0)
            return null;
        return Checked($"{Path}: column {name}", () =>
        {
            ColumnDescriptor leaf = _file.FileMetaData.Schema.Column(index);
            bool isList = leaf.MaxRepetitionLevel > 0, isAlone = _leaves.Count(other => other[0] == name) == 1;
            if (!isAlone || leaf.MaxRepetitionLevel > (mayBeList ? 1 : 0) || (!isList && _leaves[index].Length > 1))
            {
                throw new InputException(
                    $"{Path}: column {name} is {(isList ? "a list" : "a group of columns")}; it must be "
                    + (mayBeList ? "a list of texts or whole numbers, or a text" : "a plain column"));
            }
            return new ParquetColumn(this, name, index, leaf);
        });
    }

    /// <summary>Opens a row group for <see cref="ParquetColumn.Open"/>.</summary>
    public RowGroupReader RowGroup(int group) => Checked(Place(group), () => _file.RowGroup(group));

    /// <summary>"FILE: row group 2 of 7".</summary>
    public string Place(int group) => $"{Path}: row group {group + 1} of {RowsOfGroup.Count}";

    /// <summary>Runs what reads the file, and tells what it failed of.</summary>
    /// <param name="place">File, row group and column, and what is wrong with them.</param>
    public static T Checked<T>(string place, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is not (InputException or DllNotFoundException or TypeInitializationException))
        {
            // Whatever a damaged file makes of the library: also sizes that no memory has room for, or types that it cannot make sense of.
            Match message = Inner().Match(e.Message);
            throw new InputException(
                $"{place}: {Printable.Short(message.Success ? message.Groups[1].Value : e.Message).TrimEnd('.')}; {Remedy}", e);
        }
    }

    public InputException Damaged(int group, string what) => new($"{Place(group)}: {what}: the file is damaged; {Remedy}");

    public void Dispose() => _file.Dispose();

    /// <summary>What the library's message says beside the name of a C++ class.</summary>
    [GeneratedRegex(@"\(message: '(.*)'\)\z", RegexOptions.Singleline)]
    private static partial Regex Inner();
}
