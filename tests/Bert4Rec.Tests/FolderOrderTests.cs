using System.Reflection;
using Bert4Rec.Configuration;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Bert4Rec.Tests;

/// <summary>
/// References point one way: a folder uses only those before it, so that the code can be read from the first to the last.
/// </summary>
public sealed class FolderOrderTests
{
    /// <summary>Every folder of kernels/ and src/ after those it may use; folders of one row do not use each other.</summary>
    private static readonly string[][] _order =
    [
        ["kernels"],
        ["kernels/Reference", "kernels/Cpu", "kernels/Gpu/Emulator"],
        ["kernels/Gpu/Runtime"],
        ["kernels/Gpu"],
        ["kernels/Gpu/Ladder"],
        ["src/Bert4Rec"],
        ["src/Bert4Rec/Serialization", "src/Bert4Rec/Reporting"],
        ["src/Bert4Rec/Configuration"],
        ["src/Bert4Rec/EventLog"],
        ["src/Bert4Rec/Data", "src/Bert4Rec/Distributed"],
        ["src/Bert4Rec/Data/Synthesis", "src/Bert4Rec/Model"],
        ["src/Bert4Rec/Evaluation"],
        ["src/Bert4Rec/Inference"],
        ["src/Bert4Rec/Training", "src/Bert4Rec/Export"],
        ["src/Bert4Rec/Tuning"],
        ["src/Bert4Rec/Pipeline", "src/Bert4Rec/Checking"],
        ["src/Bert4Rec.Server"],
        ["src/Bert4Rec.Cli/Output"],
        ["src/Bert4Rec.Cli/Options"],
        ["src/Bert4Rec.Cli/Commands"],
        ["src/Bert4Rec.Cli"],
    ];

    private static readonly Lazy<FolderReferences> _code = new(() => new(
        new[] { "kernels", "src" }.SelectMany(TestFiles.Sources)
            .Select(path => (path, File.ReadAllText(Path.Combine(TestFiles.RepositoryRoot, path))))));

    private static readonly Lazy<FolderReference[]> _uses = new(() => [.. _code.Value.Find()]);

    [Fact]
    public void No_folder_uses_one_that_comes_after_it()
    {
        var backward = _uses.Value.Where(IsBackward).Select(use => $"{use.Place} is of {use.To}, after {use.From}").ToArray();

        Assert.True(backward.Length == 0, string.Join('\n', backward));
    }

    [Fact]
    public void Each_folder_has_a_place_in_the_order()
    {
        string[] folders = [.. _code.Value.Trees.Select(tree => FolderReferences.FolderOf(tree.FilePath)).Distinct()];

        Assert.Subset(_order.SelectMany(row => row).ToHashSet(), folders.ToHashSet());
    }

    [Fact]
    public void Namespaces_follow_folders()
    {
        string[] wrong =
        [
            .. from tree in _code.Value.Trees
               from space in tree.GetRoot().DescendantNodes().OfType<BaseNamespaceDeclarationSyntax>()
               let expected = NamespaceOf(FolderReferences.FolderOf(tree.FilePath))
               where space.Name.ToString() != expected
               select $"{tree.FilePath}: {space.Name} should be {expected}",
        ];

        Assert.True(wrong.Length == 0, string.Join('\n', wrong));
    }

    /// <summary>What is only read changes nothing, and nobody is told. Two choose among the defaults of others.</summary>
    [Fact]
    public void Every_setting_is_used()
    {
        HashSet<string> used =
        [
            .. _uses.Value.Select(use => use.Place.Split(": ")[1]),
            $"{nameof(RunConfig)}.{nameof(RunConfig.Model)}", $"{nameof(RunConfig)}.{nameof(RunConfig.ComparesObjectives)}",
        ];
        string[] unused =
        [
            .. typeof(RunConfig).GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Select(property => $"{nameof(RunConfig)}.{property.Name}").Where(name => !used.Contains(name)),
        ];
        Assert.True(unused.Length == 0, $"no other folder uses {string.Join(", ", unused)}");
    }

    [Theory]
    [InlineData("class User { Later.Thing? _thing; }", true)]
    [InlineData("class User { string Name => nameof(Later.Thing); }", true)]
    [InlineData("class User { const int Size = Later.Thing.Size; }", true)]
    [InlineData("class User { object Make() { var made = Later.Maker.Make(); return made; } }", true)]
    [InlineData("/// <see cref=\"Later.Thing\"/>\nclass User { /* Later.Thing */ }", false)]
    [InlineData("class User { Earlier.Thing? _thing; }", false)]
    public void A_reference_to_a_later_folder_is_found(string code, bool isBackward)
    {
        var references = new FolderReferences(
        [
            ("src/Bert4Rec/Serialization/Thing.cs", "namespace Earlier; class Thing { }"),
            ("src/Bert4Rec/Data/User.cs", code),
            (
                "src/Bert4Rec/Training/Thing.cs",
                "namespace Later; class Thing { public const int Size = 1; } class Maker { public static Thing Make() => new(); }"),
        ]);

        Assert.Equal(isBackward, references.Find().Any(IsBackward));
    }

    private static string NamespaceOf(string folder) =>
        folder.Replace("src/", "").Replace("kernels", "Bert4Rec.Kernels").Replace('/', '.');

    private static bool IsBackward(FolderReference use) => Place(use.To) >= Place(use.From);

    private static int Place(string folder) => Array.FindIndex(_order, row => row.Contains(folder));
}
